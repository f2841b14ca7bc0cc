#include <mollify/experiments/robustness/certified_images.h>

#include <mollify/engine/error.h>
#include <mollify/engine/file.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/noise_request.h>
#include <mollify/experiments/training/metrics.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>

namespace mollify::experiments {
namespace {

using Images = std::vector<CertifiedImage>;

std::vector<std::string> split(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, '\t');) {
    if (!cell.empty() && cell.back() == '\r') cell.pop_back();
    cells.push_back(cell);
  }
  return cells;
}

}  // namespace

std::vector<CertifiedImage> read_certified(const std::filesystem::path& file) {
  std::istringstream lines(read_text(file));
  std::string line;
  std::getline(lines, line);
  const std::vector<std::string> heading = split(line);
  const auto column = [&](const char* name) {
    const auto found = std::find(heading.begin(), heading.end(), name);
    require<FormatError>(found != heading.end(),
                         "{}: line 1: no column {}; needs tabs between idx, label, predict, radius and correct",
                         file.string(), name);
    return static_cast<size_t>(found - heading.begin());
  };
  const size_t columns[] = {column("idx"), column("label"), column("predict"), column("radius"), column("correct")};
  Images images;
  for (int64_t number = 2; std::getline(lines, line); ++number) {
    const std::vector<std::string> cells = split(line);
    if (cells.empty()) continue;
    std::vector<double> numbers;
    for (const size_t c : columns) {
      const std::string text = c < cells.size() ? cells[c] : "";
      numbers.push_back(parse_number(text).value_or(NAN));
      require<FormatError>(std::isfinite(numbers.back()), "{}: line {}: {} is '{}'; needs a number", file.string(),
                           number, heading[c], text);
    }
    require<FormatError>(numbers[3] >= 0 && (numbers[4] == 0 || numbers[4] == 1),
                         "{}: line {}: radius {} and correct {}; needs a radius of at least 0, and 0 or 1",
                         file.string(), number, numbers[3], numbers[4]);
    for (size_t i = 0; i < 3; ++i)
      require<FormatError>(numbers[i] == std::floor(numbers[i]) && std::abs(numbers[i]) < 1e9,
                           "{}: line {}: {} is {}; needs a whole number", file.string(), number, heading[columns[i]],
                           numbers[i]);
    images.push_back({static_cast<int64_t>(numbers[0]), static_cast<int32_t>(numbers[1]),
                      static_cast<int32_t>(numbers[2]), numbers[3], numbers[4] == 1});
  }
  require<FormatError>(!images.empty(), "{}: no image; needs a line for each below the heading", file.string());
  return images;
}

std::string columns_of(const CertifiedImage& image, double seconds) {
  return format("{}\t{}\t{}\t{}\t{}\t{}", image.index, image.label, image.predicted, radius_text(image.radius),
                image.correct ? 1 : 0, time_text(seconds));
}

std::string radius_text(double radius) { return number_text(std::floor(radius * 1e6) / 1e6, "%.6f"); }

int64_t count_abstained(const Images& images) {
  return std::count_if(images.begin(), images.end(), [](const CertifiedImage& i) { return i.predicted < 0; });
}

double certified_accuracy(const Images& images, double radius) {
  if (images.empty()) return 0;
  const auto right =
      std::count_if(images.begin(), images.end(), [&](const auto& i) { return i.correct && i.radius >= radius; });
  return static_cast<double>(right) / static_cast<double>(images.size());
}

double average_certified_radius(const Images& images) {
  if (images.empty()) return 0;
  double sum = 0;
  for (const CertifiedImage& image : images) sum += image.correct ? image.radius : 0;
  return sum / static_cast<double>(images.size());
}

double high_probability(double share, int64_t images, double alpha, double rho) {
  const double n = static_cast<double>(images), surprise = std::log(1 / rho);
  return std::max(0.0, share - alpha - std::sqrt(alpha * (1 - alpha) * surprise / n) - surprise / (3 * n));
}

double accuracy_without_abstentions(const Images& images, double radius) {
  int64_t with = 0, right = 0;
  for (const CertifiedImage& image : images) {
    with += image.radius > 0;
    right += image.correct && image.radius > radius;
  }
  return with == 0 ? 0 : static_cast<double>(right) / static_cast<double>(with);
}

}  // namespace mollify::experiments
