#include <mollify/smoothing/randomized/votes.h>

#include <mollify/engine/grad.h>
#include <mollify/engine/ops.h>
#include <mollify/engine/plan.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/rows.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace mollify::smoothing {
namespace {

Tensor outputs_of(const Function& f, const Tensor& rows) {
  const Tensor outputs = f(rows);
  require(outputs.rank() == 2 && outputs.dim(0) == rows.dim(0) && outputs.dim(1) >= 2,
          "votes: f gives {} for {}; needs [N, classes], two classes or more", outputs.shape(), rows.shape());
  return outputs;
}

// What f answers to noisy rows: classes, i32 [B], and how many there are.
struct Answers {
  Tensor classes;
  int64_t count;
};

// Of images with their numbers; every row's image, by its place among them, and its draw.
Answers answers(const Function& f, const Noise& noise, NoiseUse use, Inputs in) {
  const Tensor &images = in[0], &numbers = in[1], &where = in[2], &draws = in[3];
  const Tensor rows = take(images, where);
  const Tensor outputs =
      outputs_of(f, rows + gaussian_noise(rows.shape(), noise, use, take(numbers, where), draws, rows.dtype()));
  return {argmax(outputs), outputs.dim(1)};
}

}  // namespace

class CapturedVotes {
 public:
  CapturedVotes(Function f, const Noise& noise) : noise(noise), f_(std::move(f)) {}
  CapturedVotes(const CapturedVotes&) = delete;

  Answers operator()(NoiseUse use, Inputs in) {
    const auto [plan, added] = plans_.try_emplace(use, [this, use](const Tensors& rows) -> Tensors {
      const Answers found = answers(f_, noise, use, rows);
      count_ = found.count;
      return {found.classes};
    });
    return {plan->second(in)[0], count_};
  }

  const Noise noise;

 private:
  const Function f_;
  std::map<NoiseUse, Captured> plans_;
  int64_t count_ = 0;  // the same in every call
};

namespace {

void check(const NoisyClassifier& g, const NumberedImages& images) {
  require<ValueError>(static_cast<bool>(g.f), "votes: an empty function given; needs a function of the images");
  require<ValueError>(!g.plans || (g.plans->noise.sigma == g.noise.sigma && g.plans->noise.seed == g.noise.seed),
                      "votes: noise {} of seed {} given to votes captured with {} of {}; needs the same noise",
                      g.noise.sigma, g.noise.seed, g.plans ? g.plans->noise.sigma : 0,
                      g.plans ? g.plans->noise.seed : 0);
  require<ValueError>(g.batch >= 1, "votes: batch {}; needs at least 1", g.batch);
  require(images.rows.rank() >= 2, "votes: images are {}; needs [N, …]", images.rows.shape());
  require<TypeError>(is_floating(images.rows.dtype()) && images.numbers.dtype() == DType::i32,
                     "votes: images are {} with numbers of {}; needs f32 or f64, and i32", images.rows.dtype(),
                     images.numbers.dtype());
  require(images.numbers.shape() == Shape{images.rows.dim(0)}, "votes: numbers are {} of images {}; needs one each",
          images.numbers.shape(), images.rows.shape());
}

// Classes from the most to the least frequent; of those that tie the lowest first.
std::vector<int32_t> ranked(const Counts& counts) {
  std::vector<int32_t> classes(counts.size());
  std::iota(classes.begin(), classes.end(), 0);
  std::stable_sort(classes.begin(), classes.end(), [&](int32_t a, int32_t b) { return counts[a] > counts[b]; });
  return classes;
}

// One image's claim while its votes come in.
class Trial {
 public:
  // `classes` from the most to the least frequent of the selection; the subject's class, or classes, come first.
  Trial(const CertifyOptions& how, double sigma, const std::vector<int32_t>& classes)
      : how_(how), sigma_(sigma), classes_(classes), counts_(classes.size()) {}

  void add(const Counts& counts) {
    for (size_t c = 0; c < counts.size(); ++c) counts_[c] += counts[c];
  }
  int64_t left() const { return how_.trials - draws(); }

  // Whether the votes to come cannot change on which side of the radius this is.
  bool decided() const {
    return left() == 0 || (how_.radius > 0 && (proven() >= how_.radius || radius(left(), 0) < how_.radius));
  }

  Certificate certificate() const {
    const double radius = how_.radius > 0 ? (proven() >= how_.radius ? how_.radius : 0) : std::max(0.0, proven());
    return {
        radius > 0 ? classes_[0] : -1, radius, successes(), draws(), {classes_.begin(), classes_.begin() + subjects()}};
  }

 private:
  int64_t draws() const { return std::accumulate(counts_.begin(), counts_.end(), int64_t{0}); }
  int64_t successes() const {
    int64_t sum = 0;
    for (int64_t i = 0; i < subjects(); ++i) sum += counts_[static_cast<size_t>(classes_[static_cast<size_t>(i)])];
    return sum;
  }
  int64_t subjects() const { return how_.claim == Claim::in_set ? how_.k : 1; }
  double proven() const { return radius(0, left()); }

  // With so many more votes for the subject, and for one other class.
  double radius(int64_t more, int64_t others) const {
    const bool two = how_.claim == Claim::top_of_two;
    const double alpha = two ? how_.alpha / 2 : how_.alpha;
    const double lower = clopper_pearson_lower(successes() + more, how_.trials, alpha);
    if (how_.claim == Claim::in_top) return certified_radius_in_top(lower, how_.k, sigma_);
    if (!two) return certified_radius(lower, sigma_);
    int64_t second = 0;
    for (size_t c = 0; c < counts_.size(); ++c)
      if (static_cast<int32_t>(c) != classes_[0]) second = std::max(second, counts_[c]);
    const double each = alpha / static_cast<double>(counts_.size() - 1);  // any of the others may be the second
    return certified_radius_of_two(
        lower, std::min(clopper_pearson_upper(second + others, how_.trials, each), 1 - lower), sigma_);
  }

  const CertifyOptions& how_;
  const double sigma_;
  const std::vector<int32_t> classes_;
  Counts counts_;
};

void check(const CertifyOptions& how, double sigma, const Tensor& labels, int64_t images) {
  require<ValueError>(how.trials >= 1 && how.selections >= 1, "certify: {} draws after {}; needs at least 1 of each",
                      how.trials, how.selections);
  require<ValueError>(how.alpha > 0 && how.alpha < 1, "certify: alpha {}; needs a number between 0 and 1", how.alpha);
  require<ValueError>(how.radius >= 0 && std::isfinite(how.radius), "certify: radius {}; needs a finite number ≥ 0",
                      how.radius);
  const bool two = how.claim == Claim::top_of_two;
  const double all = clopper_pearson_lower(how.trials, how.trials, two ? how.alpha / 2 : how.alpha);
  const double largest = how.claim == Claim::in_top ? certified_radius_in_top(all, std::max<int64_t>(1, how.k), sigma)
                                                    : certified_radius(all, sigma);
  require<ValueError>(
      largest > 0 && largest >= how.radius,
      "certify: {} draws at alpha {} prove a radius of at most {}; needs more draws or a larger alpha{}", how.trials,
      how.alpha, std::max(0.0, largest), how.radius > 0 ? ", or a smaller radius" : "");
  if (how.claim == Claim::in_top)
    require(labels.defined() && labels.dtype() == DType::i32 && labels.shape() == Shape{images},
            "certify: the claim is about labels; needs i32 [{}]", images);
}

// What is certified of every image: the classes as the selection ranks them, the label before all others where the
// claim is about it.
std::vector<std::vector<int32_t>> subjects(const NoisyClassifier& g, const NumberedImages& images,
                                           const CertifyOptions& how, const Tensor& labels) {
  std::vector<std::vector<int32_t>> all;
  if (how.clean_class) {
    const NoGrad quiet;
    const Tensor outputs = outputs_of(g.f, images.rows);
    const std::vector<int32_t> order = top_k(outputs, outputs.dim(1)).indices.to_vector<int32_t>();
    for (int64_t i = 0; i < outputs.dim(0); ++i)
      all.emplace_back(order.begin() + i * outputs.dim(1), order.begin() + (i + 1) * outputs.dim(1));
  } else {
    for (const Counts& counts : votes(g, images, NoiseUse::selection, 0, how.selections)) all.push_back(ranked(counts));
  }
  const auto classes = static_cast<int64_t>(all.empty() ? 0 : all[0].size());
  if (how.claim == Claim::in_top || how.claim == Claim::in_set)
    require<ValueError>(all.empty() || (how.k >= 1 && how.k < classes),
                        "certify: k {} of {} classes; needs at least 1 and fewer than all", how.k, classes);
  if (how.claim != Claim::in_top) return all;
  const std::vector<int32_t> given = labels.to_vector<int32_t>();
  for (size_t i = 0; i < all.size(); ++i) {
    const auto label = std::find(all[i].begin(), all[i].end(), given[i]);
    require<ValueError>(label != all[i].end(), "certify: label {} with {} classes; needs 0 ≤ label < classes", given[i],
                        classes);
    std::rotate(all[i].begin(), label, label + 1);
  }
  return all;
}

}  // namespace

NoisyClassifier captured(const NoisyClassifier& g) {
  require<ValueError>(static_cast<bool>(g.f), "captured: an empty function given; needs a function of the images");
  return {g.f, g.noise, g.batch, std::make_shared<CapturedVotes>(g.f, g.noise)};
}

std::vector<Counts> votes(const NoisyClassifier& g, const NumberedImages& images, NoiseUse use, int64_t first,
                          int64_t count) {
  check(g, images);
  require<ValueError>(first >= 0 && count >= 1 && first + count <= INT32_MAX,
                      "votes: {} draws from number {} on; needs at least one, below 2^31", count, first);
  const NoGrad quiet;
  const int64_t n = images.rows.dim(0), all = n * count;
  std::vector<Counts> counts(static_cast<size_t>(n));
  for (int64_t begin = 0; begin < all; begin += g.batch) {
    const int64_t end = std::min(begin + g.batch, all);
    std::vector<int32_t> places, draws;
    for (int64_t i = begin; i < end; ++i) {
      places.push_back(static_cast<int32_t>(i / count));
      draws.push_back(static_cast<int32_t>(first + i % count));
    }
    const Device device = images.rows.device();
    const Tensors in = {images.rows, images.numbers, index_list(places, device), index_list(draws, device)};
    const Answers found = g.plans ? (*g.plans)(use, in) : answers(g.f, g.noise, use, in);
    const std::vector<int32_t> classes = found.classes.to_vector<int32_t>();
    for (size_t i = 0; i < classes.size(); ++i) {
      Counts& of_image = counts[static_cast<size_t>(places[i])];
      of_image.resize(static_cast<size_t>(found.count));
      ++of_image[static_cast<size_t>(classes[i])];
    }
  }
  return counts;
}

std::vector<Certificate> certify(const NoisyClassifier& g, const NumberedImages& images, const CertifyOptions& options,
                                 const Tensor& labels) {
  check(g, images);
  check(options, g.noise.sigma, labels, images.rows.dim(0));
  std::vector<Trial> trials;
  for (const std::vector<int32_t>& classes : subjects(g, images, options, labels))
    trials.emplace_back(options, g.noise.sigma, classes);
  // Where a radius may decide early, draws come in parts.
  const int64_t part = options.radius > 0 ? std::max<int64_t>(g.batch, options.trials / 20) : options.trials;
  for (int64_t first = 0; first < options.trials; first += part) {
    std::vector<int32_t> open;
    for (size_t i = 0; i < trials.size(); ++i)
      if (!trials[i].decided()) open.push_back(static_cast<int32_t>(i));
    if (open.empty()) break;
    const Tensor where = index_list(open, images.rows.device());
    const std::vector<Counts> counts = votes(g, {take(images.rows, where), take(images.numbers, where)},
                                             NoiseUse::estimation, first, std::min(part, options.trials - first));
    for (size_t i = 0; i < open.size(); ++i) trials[static_cast<size_t>(open[i])].add(counts[i]);
  }
  std::vector<Certificate> certificates;
  for (const Trial& trial : trials) certificates.push_back(trial.certificate());
  return certificates;
}

std::vector<Prediction> predict(const NoisyClassifier& g, const NumberedImages& images, int64_t trials, double alpha) {
  const int64_t fewest = fewest_predicting_draws(alpha);
  require<ValueError>(trials >= fewest, "predict: {} draws never tell two classes apart at alpha {}; needs at least {}",
                      trials, alpha, fewest);
  std::vector<Prediction> predictions;
  for (const Counts& counts : votes(g, images, NoiseUse::prediction, 0, trials)) {
    const std::vector<int32_t> classes = ranked(counts);
    const int64_t first = counts[static_cast<size_t>(classes[0])], second = counts[static_cast<size_t>(classes[1])];
    predictions.push_back({equal_shares_p_value(first, second) <= alpha ? classes[0] : -1, first, second});
  }
  return predictions;
}

}  // namespace mollify::smoothing
