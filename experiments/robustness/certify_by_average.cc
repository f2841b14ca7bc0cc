#include <mollify/experiments/robustness/certify_by_average.h>

#include <mollify/engine/ops.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/certified_images.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/smoothing/randomized/statistics.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

struct Averaged : CertifiedImage {
  double seconds;
  double tighter;  // radius by Gaussian quantiles; infinite where a probability rounds to 1
};

ordered_json json_of(const Averaged& a) {
  return {{"index", a.index},
          {"label", a.label},
          {"predicted", a.predicted},
          {"radius", a.radius},
          {"correct", a.correct},
          {"seconds", a.seconds},
          {"tighter", std::isfinite(a.tighter) ? ordered_json(a.tighter) : ordered_json()}};
}

Averaged averaged_of(const ordered_json& line) {
  const ordered_json& tighter = line.at("tighter");
  return {{line.at("index"), line.at("label"), line.at("predicted"), line.at("radius"), line.at("correct")},
          line.at("seconds"),
          tighter.is_null() ? INFINITY : tighter.get<double>()};
}

Averaged averaged(const Tensor& outputs, int64_t index, int32_t label, int64_t k, double sigma) {
  const auto [own, rival] = label_and_rival(outputs, label, k);
  const auto predicted = static_cast<int32_t>(argmax(flatten(outputs)).item());
  const bool right = own > rival;
  return {{index, label, predicted, right ? smoothing::average_radius(own, rival, sigma) : 0, right},
          0,
          right ? smoothing::tighter_average_radius(own, rival, sigma) : 0};
}

void write_tsv(const std::filesystem::path& file, const std::vector<Averaged>& all) {
  std::string text = format("{}\ttighter\n", kCertifiedColumns);
  for (const Averaged& a : all)
    text += format("{}\t{}\n", columns_of(a, a.seconds), std::isfinite(a.tighter) ? radius_text(a.tighter) : "inf");
  write_text(file, text);
}

// Of images that are right: the mean and the median of a radius.
struct Middle {
  double mean, median;
};
Middle middle_of(const std::vector<Averaged>& images, double Averaged::*radius) {
  std::vector<double> all;
  for (const Averaged& image : images)
    if (image.correct) all.push_back(image.*radius);
  if (all.empty()) return {0, 0};
  std::sort(all.begin(), all.end());
  return {std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size()), all[all.size() / 2]};
}

void print(const CertifyCommand& command, const Classifier& classifier, const std::vector<Averaged>& images,
           double seconds) {
  const double sigma = *command.votes.noise;
  const Middle bound = middle_of(images, &Averaged::radius), tighter = middle_of(images, &Averaged::tighter);
  const std::vector<CertifiedImage> plain(images.begin(), images.end());
  std::vector<double> radii;
  for (double r = 0; r < sigma * 1.26; r += sigma / 4) radii.push_back(r);
  if (command.json) {
    ordered_json out = {{"weights", command.request.weights},
                        {"data", classifier.images().name},
                        {"split", command.request.split},
                        {"images", images.size()},
                        {"method", "average"},
                        {"noise", sigma},
                        {"top", command.votes.top},
                        {"mean_estimate", bound.mean},
                        {"median_estimate", bound.median},
                        {"mean_tighter_estimate", tighter.mean},
                        {"estimated", ordered_json::array()}};
    for (const double r : radii) out["estimated"].push_back({{"radius", r}, {"share", certified_accuracy(plain, r)}});
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s\n",
              format("{} on {} {} images of {}, as an average over noise {} of pixels from 0 to 1: an estimate, "
                     "no certificate, but for an exact average",
                     command.request.weights, images.size(), command.request.split, classifier.images().name, sigma)
                  .c_str());
  Table table({"l2 radius", "estimate"});
  for (const double r : radii)
    table.add({number_text(r, "%.4g"), number_text(100 * certified_accuracy(plain, r), "%.2f %%")});
  std::printf(
      "%sestimated radius of right images: mean %.4f, median %.4f; by quantiles mean %.4f, median %.4f   (%.1f s)\n",
      table.text().c_str(), bound.mean, bound.median, tighter.mean, tighter.median, seconds);
}

}  // namespace

LabelAndRival label_and_rival(const Tensor& outputs, int32_t label, int64_t k) {
  std::vector<double> others = softmax(flatten(cast(outputs, DType::f64))).to_vector<double>();
  const double own = std::min(1.0, others[static_cast<size_t>(label)]);
  others.erase(others.begin() + label);
  std::nth_element(others.begin(), others.begin() + k - 1, others.end(), std::greater<>());
  return {own, std::min(1.0, others[static_cast<size_t>(k - 1)])};
}

void check_averaged(const ordered_json& line) { averaged_of(line); }

int certify_by_average(const CertifyCommand& command, const Classifier& classifier, ImageLog& log) {
  const auto start = Clock::now();
  const int64_t total = classifier.images().size(), k = command.votes.top;
  require<UsageError>(k < classifier.images().classes, "mollify certify: --top: {} given; {} has {} classes", k,
                      classifier.images().name, classifier.images().classes);
  const auto f = classifier.function(DType::f32);
  const ImageLog::Course course = log.add_left(total, "averages", [&](int32_t index) {
    const auto begin = Clock::now();
    const Classifier::Batch image = classifier.batch({index});
    Averaged found = averaged(f(image.pixels), index, image.labels.to_vector<int32_t>()[0], k, *command.votes.noise);
    found.seconds = seconds_since(begin);
    return json_of(found);
  });
  if (Processes::all().is_first()) {
    std::vector<Averaged> all;
    for (const auto& [index, line] : log.lines(total)) all.push_back(averaged_of(line));
    if (!log.folder().empty()) write_tsv(log.folder() / "certify.tsv", all);
    print(command, classifier, all, seconds_since(start));
  }
  return log.status_after(course);
}

}  // namespace mollify::experiments
