// What attacks found of images: lines, pixels, and what they come to.
#pragma once

#include <mollify/engine/tensor.h>
#include <mollify/experiments/json.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace mollify::experiments {

struct AttackedImage {
  int64_t index;
  int32_t label;
  bool right, broken;              // without an attack; under it
  double margin;                   // of the attacked image: below 0 where it resisted
  std::optional<double> distance;  // of what is broken alone
  std::string by;                  // the attack that broke it
};
nlohmann::ordered_json json_of(const AttackedImage& image);
AttackedImage attacked_of(const nlohmann::ordered_json& line);  // throws JSON's exceptions

// attacked.npy of a folder, of all images, written one by one: zeros until then. Of an empty folder's name nothing is
// kept. Throws FormatError.
class AttackedPixels {
 public:
  AttackedPixels(const std::filesystem::path& folder, int64_t images, const Shape& image);
  void write(int64_t index, const Tensor& pixels);

 private:
  std::filesystem::path file_;
  int64_t first_ = 0, bytes_ = 0;  // where the images' numbers begin, and of one image
};

class AttackSummary {
 public:
  // attacks: their names, in order.
  AttackSummary(const std::vector<AttackedImage>& images, const std::vector<std::string>& attacks);
  std::string text() const;
  nlohmann::ordered_json json() const;

 private:
  double share(int64_t count) const;

  int64_t images_ = 0, right_ = 0, resisted_ = 0;
  std::vector<std::pair<std::string, int64_t>> broken_by_;
  std::vector<double> distances_;  // rising, of images that were right and are broken
};

// Which share of the images is right within every distance up to where the last was broken.
std::string accuracy_by_distance_svg(const std::vector<AttackedImage>& images, const std::string& norm,
                                     const std::string& attack);

}  // namespace mollify::experiments
