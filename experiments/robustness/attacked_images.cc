#include <mollify/experiments/robustness/attacked_images.h>

#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/engine/ops.h>
#include <mollify/nn/formats/npy.h>

#include <algorithm>
#include <fstream>
#include <numeric>

namespace mollify::experiments {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

ordered_json json_of(const AttackedImage& image) {
  return {{"index", image.index},   {"label", image.label},
          {"right", image.right},   {"broken", image.broken},
          {"margin", image.margin}, {"distance", image.distance ? ordered_json(*image.distance) : ordered_json()},
          {"by", image.by}};
}

AttackedImage attacked_of(const ordered_json& line) {
  const ordered_json& margin = line.at("margin");  // null where it was no number
  AttackedImage image{line.at("index"),
                      line.at("label"),
                      line.at("right"),
                      line.at("broken"),
                      margin.is_null() ? std::numeric_limits<double>::quiet_NaN() : margin.get<double>(),
                      {},
                      line.at("by")};
  if (!line.at("distance").is_null()) image.distance = line.at("distance").get<double>();
  return image;
}

AttackedPixels::AttackedPixels(const fs::path& folder, int64_t images, const Shape& image) {
  if (folder.empty()) return;
  file_ = folder / "attacked.npy";
  Shape shape = image;
  shape.insert(0, images);
  const Tensor all = zeros(shape);
  bytes_ = all.size() / images * static_cast<int64_t>(sizeof(float));
  if (!fs::exists(file_)) nn::formats::write_npy(file_, all);
  first_ = static_cast<int64_t>(fs::file_size(file_)) - images * bytes_;
  require<FormatError>(nn::formats::read_npy(file_).shape() == shape, "{}: an array of another shape; needs {}",
                       file_.string(), shape);
}

void AttackedPixels::write(int64_t index, const Tensor& pixels) {
  if (file_.empty()) return;
  const std::vector<float> values = pixels.to_vector<float>();
  std::fstream out(file_, std::ios::binary | std::ios::in | std::ios::out);
  out.seekp(first_ + index * bytes_);
  out.write(reinterpret_cast<const char*>(values.data()), bytes_);
  require<FormatError>(out.good(), "{}: cannot be written", file_.string());
}

AttackSummary::AttackSummary(const std::vector<AttackedImage>& images, const std::vector<std::string>& attacks)
    : images_(static_cast<int64_t>(images.size())) {
  for (const std::string& name : attacks) broken_by_.emplace_back(name, 0);
  for (const AttackedImage& image : images) {
    right_ += image.right;
    resisted_ += image.right && !image.broken;
    if (!image.right || !image.broken) continue;
    distances_.push_back(*image.distance);
    for (auto& [name, count] : broken_by_) count += image.by == name;
  }
  std::sort(distances_.begin(), distances_.end());
}

double AttackSummary::share(int64_t count) const {
  return images_ == 0 ? 0 : static_cast<double>(count) / static_cast<double>(images_);
}

std::string AttackSummary::text() const {
  std::string text;
  if (broken_by_.size() > 1) {
    Table table({"attack", "broken", "right so far"});
    int64_t left = right_;
    for (const auto& [name, count] : broken_by_) {
      left -= count;
      table.add({name, std::to_string(count), number_text(100 * share(left), "%.2f %%")});
    }
    text += table.text();
  }
  text += number_text(100 * share(right_), "natural accuracy   %6.2f %%\n") +
          number_text(100 * share(resisted_), "attacked accuracy  %6.2f %%\n");
  if (distances_.empty()) return text + format("none of {} that were right is broken\n", right_);
  return text +
         format("{} of {} that were right are broken, at a mean distance of {}, median {}\n", distances_.size(), right_,
                number_text(
                    std::accumulate(distances_.begin(), distances_.end(), 0.0) / static_cast<double>(distances_.size()),
                    "%.4g"),
                number_text(distances_[distances_.size() / 2], "%.4g"));
}

ordered_json AttackSummary::json() const {
  ordered_json out = {{"natural", share(right_)},
                      {"attacked", share(resisted_)},
                      {"broken", distances_.size()},
                      {"unbroken", resisted_},
                      {"by", ordered_json::object()}};
  for (const auto& [name, count] : broken_by_) out["by"][name] = count;
  if (!distances_.empty()) {
    out["mean_distance"] =
        std::accumulate(distances_.begin(), distances_.end(), 0.0) / static_cast<double>(distances_.size());
    out["median_distance"] = distances_[distances_.size() / 2];
  }
  return out;
}

std::string accuracy_by_distance_svg(const std::vector<AttackedImage>& images, const std::string& norm,
                                     const std::string& attack) {
  double farthest = 0;
  for (const AttackedImage& image : images)
    if (image.right && image.distance) farthest = std::max(farthest, *image.distance);
  Curve curve{attack, 0, {}, {}};
  for (int step = 0; step <= 300; ++step) {
    const double distance = farthest * step / 300;
    const auto right = std::count_if(images.begin(), images.end(), [&](const AttackedImage& image) {
      return image.right && (!image.distance || *image.distance > distance);
    });
    curve.x.push_back(distance);
    curve.y.push_back(images.empty() ? 0 : 100 * static_cast<double>(right) / static_cast<double>(images.size()));
  }
  return curves_svg("Attacked images", {{.title = "right within the distance",
                                         .x_title = norm + " distance",
                                         .unit = " %",
                                         .curves = {curve},
                                         .low = 0,
                                         .high = 100}});
}

}  // namespace mollify::experiments
