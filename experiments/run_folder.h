// The folder of a run: made where it is missing, and held by one process at a time.
#pragma once

#include <filesystem>
#include <string>

namespace mollify::experiments {

// Makes the folder, with those above it. Throws WriteError, which starts with `option` and names the folder and the
// system's reason.
void make_folder(const std::string& option, const std::filesystem::path& folder);

// Holds a folder until the end of the object, or of the process however it ends; the file "lock" in it names the
// process.
class FolderLock {
 public:
  // Throws UsageError, which starts with `option`, where another process holds the folder; WriteError where it cannot
  // be held.
  FolderLock(const std::string& option, const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;

 private:
  int file_;
};

}  // namespace mollify::experiments
