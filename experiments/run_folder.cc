#include <mollify/experiments/run_folder.h>

#include <mollify/engine/file.h>
#include <mollify/experiments/options.h>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

namespace mollify::experiments {

void make_folder(const std::string& option, const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (!error)
    error =
        std::filesystem::is_directory(folder) ? std::error_code() : std::make_error_code(std::errc::not_a_directory);
  require<WriteError>(!error, "{}: {} cannot be made ({}); needs a folder that may be written to", option,
                      folder.string(), error.message());
}

FolderLock::FolderLock(const std::string& option, const std::filesystem::path& folder)
    : file_(open((folder / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (file_ < 0) throw WriteError(format("{}: {}", option, write_failure(folder / "lock", errno)));
  char holder[32] = {};
  if (flock(file_, LOCK_EX | LOCK_NB) != 0) {
    const ssize_t length = read(file_, holder, sizeof holder - 1);
    close(file_);
    throw UsageError(format("{}: {} is in use by another process{}{}; needs another folder, or its end", option,
                            folder.string(), length > 0 ? ", " : "", holder));
  }
  const std::string name = std::to_string(getpid());
  // A file system without room for the name holds the lock all the same.
  [[maybe_unused]] const bool named = ftruncate(file_, 0) == 0 && pwrite(file_, name.data(), name.size(), 0) > 0;
}

FolderLock::~FolderLock() { close(file_); }

}  // namespace mollify::experiments
