#include <mollify/experiments/robustness/certify_by_votes.h>

#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/certified_images.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/randomized/votes.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;
using smoothing::Claim;

constexpr struct {
  const char* name;
  Claim claim;
} kClaims[] = {
    {"class", Claim::top_class}, {"two-classes", Claim::top_of_two}, {"label", Claim::in_top}, {"set", Claim::in_set}};

smoothing::CertifyOptions options_of(const VoteRequest& request) {
  smoothing::CertifyOptions options{.k = request.top,
                                    .clean_class = request.clean_class,
                                    .selections = request.selections,
                                    .trials = request.trials,
                                    .alpha = request.alpha,
                                    .radius = request.radius};
  for (const auto& [name, claim] : kClaims)
    if (request.claim == name) options.claim = claim;
  return options;
}

struct Voted : CertifiedImage {
  double seconds;
  int64_t successes, draws;
};

ordered_json json_of(const Voted& v) {
  return {{"index", v.index},     {"label", v.label},         {"predicted", v.predicted}, {"radius", v.radius},
          {"correct", v.correct}, {"successes", v.successes}, {"draws", v.draws},         {"seconds", v.seconds}};
}

Voted voted_of(const ordered_json& line) {
  return {{line.at("index"), line.at("label"), line.at("predicted"), line.at("radius"), line.at("correct")},
          line.at("seconds"),
          line.at("successes"),
          line.at("draws")};
}

std::vector<Voted> all_of(const ImageLog& log, int64_t images) {
  std::vector<Voted> all;
  for (const auto& [index, line] : log.lines(images)) all.push_back(voted_of(line));
  return all;
}

void write_tsv(const std::filesystem::path& file, const std::vector<Voted>& all) {
  std::string text = format("{}\tcount\tn\n", kCertifiedColumns);
  for (const Voted& v : all) text += format("{}\t{}\t{}\n", columns_of(v, v.seconds), v.successes, v.draws);
  write_text(file, text);
}

// Half deviations, up to where no radius can be; or the one that was asked for.
std::vector<double> radii_of(const VoteRequest& request) {
  if (request.radius > 0) return {request.radius};
  const double largest = smoothing::largest_certified_radius(request.trials, request.alpha, *request.noise);
  std::vector<double> radii;
  for (double r = 0; r < largest; r += *request.noise / 2) radii.push_back(r);
  return radii;
}

void print(const CertifyCommand& command, const Classifier& classifier, const std::vector<CertifiedImage>& images,
           double seconds) {
  const VoteRequest& how = command.votes;
  if (command.json) {
    ordered_json out = {{"weights", command.request.weights},
                        {"data", classifier.images().name},
                        {"split", command.request.split},
                        {"images", images.size()},
                        {"method", "smoothing"},
                        {"claim", how.claim},
                        {"noise", *how.noise},
                        {"trials", how.trials},
                        {"alpha", how.alpha},
                        {"abstained", count_abstained(images)},
                        {"average_certified_radius", average_certified_radius(images)},
                        {"certified", ordered_json::array()}};
    for (const double r : radii_of(how))
      out["certified"].push_back({{"radius", r}, {"share", certified_accuracy(images, r)}});
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s\n", format("{} on {} {} images of {}, {}", command.request.weights, images.size(),
                             command.request.split, classifier.images().name, text_of(how))
                          .c_str());
  Table table({"l2 radius", "certified"});
  for (const double r : radii_of(how))
    table.add({number_text(r, "%.4g"), number_text(100 * certified_accuracy(images, r), "%.2f %%")});
  std::printf("%saverage certified radius %.4f   (%lld abstained, %.1f s)\n", table.text().c_str(),
              average_certified_radius(images), static_cast<long long>(count_abstained(images)), seconds);
}

}  // namespace

void check_voted(const ordered_json& line) { voted_of(line); }

void check(const VoteRequest& request) {
  const std::string at = "mollify certify: ";
  require_noise(request, "smoothing");
  const bool of_top = request.claim == "label" || request.claim == "set";
  require<UsageError>(of_top || request.top == 1, "{}--top: {} given; it goes with --claim label or set", at,
                      request.top);
  const double largest = smoothing::largest_certified_radius(
      request.trials, request.claim == "two-classes" ? request.alpha / 2 : request.alpha, *request.noise);
  require<UsageError>(largest > 0, "{}--n: {} given; no votes of so few prove anything at --alpha {}", at,
                      request.trials, request.alpha);
  require<UsageError>(request.claim == "label" || request.radius <= largest,
                      "{}--radius: {} given; {} draws with noise {} prove at most {} at --alpha {}", at, request.radius,
                      request.trials, *request.noise, radius_text(largest), request.alpha);
}

int certify_by_votes(const CertifyCommand& command, const Classifier& classifier, ImageLog& log) {
  const auto start = Clock::now();
  const smoothing::CertifyOptions options = options_of(command.votes);
  const int64_t total = classifier.images().size();
  require<UsageError>(options.k < classifier.images().classes, "mollify certify: --top: {} given; {} has {} classes",
                      options.k, classifier.images().name, classifier.images().classes);
  const smoothing::NoisyClassifier g = smoothing::captured(
      {classifier.function(DType::f32), {*command.votes.noise, static_cast<uint64_t>(command.seed)}, command.batch});
  const ImageLog::Course course = log.add_left(total, "votes", [&](int32_t index) {
    const auto begin = Clock::now();
    const Classifier::Batch image = classifier.batch({index});
    const smoothing::Certificate found = smoothing::certify(g, {image.pixels, image.rows}, options, image.labels)[0];
    const int32_t label = image.labels.to_vector<int32_t>()[0];
    const bool right = std::find(found.subject.begin(), found.subject.end(), label) != found.subject.end();
    return json_of({{index, label, found.predicted, found.radius, found.predicted >= 0 && right},
                    seconds_since(begin),
                    found.successes,
                    found.draws});
  });
  if (Processes::all().is_first()) {
    const std::vector<Voted> all = all_of(log, total);
    if (!log.folder().empty()) write_tsv(log.folder() / "certify.tsv", all);
    print(command, classifier, {all.begin(), all.end()}, seconds_since(start));
  }
  return log.status_after(course);
}

Options vote_options(VoteRequest& r) {
  std::vector<std::string> claims;
  for (const auto& each : kClaims) claims.push_back(each.name);
  Options all = noise_options(r);
  add(all,
      {{{"n0", "Smoothing", "draws before those of --n, which choose what is certified", nullptr},
        &r.selections,
        at_least(1)},
       {{"claim", "Smoothing",
         "what holds within the radius: the class is the most frequent one, by its own share or also by the others'; "
         "the label is among the --top most frequent; the --top classes chosen have most votes together",
         nullptr},
        &r.claim,
        one_of(claims)},
       {{"top", "Smoothing", "how many classes --claim label or set, or --method average, is about", nullptr},
        &r.top,
        at_least(1)},
       {{"clean-class", "Smoothing", "certify what the network says without noise, not what --n0 draws choose",
         nullptr},
        &r.clean_class,
        {}},
       {{"radius", "Smoothing", "l2 radius: draws end once it is decided whether it is reached", "none"},
        &r.radius,
        above(0)}});
  return all;
}

}  // namespace mollify::experiments
