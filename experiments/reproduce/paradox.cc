// The paradox of certified training (Jovanović et al. 2022, "On the Paradox of Certified Training"; arXiv 2102.06700):
// among relaxations, training through the tighter ones gives the worse networks. Every method has the same data,
// initial weights, optimiser and schedules, and every network the same verifiers.
#include <mollify/experiments/device.h>
#include <mollify/experiments/evaluate.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/certified.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/robustness/pixel_ball.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/settings.h>
#include <mollify/experiments/training/task.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/bounds/certified_loss.h>
#include <mollify/nn/models.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using nn::bounds::Bounds;
using nn::bounds::Graph;
using nn::bounds::Method;

// From the loosest relaxation to the tightest.
constexpr struct {
  const char *objective, *title;
  Method method;
} kMethods[] = {{"ibp", "IBP", Method::ibp},
                {"hbox", "HBox", Method::hbox},
                {"crown-ibp", "CROWN-IBP", Method::crown_ibp},
                {"deeppoly", "DeepPoly", Method::crown}};
constexpr const char* kNatural = "natural";  // the network on which tightness is measured
constexpr int64_t kVerifiedAtOnce = 20;

// One network.
struct Training {
  std::string model, objective;
  int64_t seed;

  std::string key() const { return format("{} {} seed={}", model, objective, seed); }
};

struct Finished {
  Training training;
  Results results;
};

std::string tightness_name(const std::string& objective) { return "tightness_" + objective; }

class Paradox final : public Experiment {
 public:
  const char* name() const override { return "paradox"; }
  const char* summary() const override {
    return "Training through tighter relaxations: worse networks? (Jovanovic et al. 2022)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "curves.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  Results train(const Training& training, const std::filesystem::path& folder) const;
  Tensor trained_weights(const Training& training, const std::filesystem::path& folder) const;
  double mean_certified_radius(const Graph& graph, Method method) const;
  std::vector<std::string> models() const;
  std::string picture(const std::vector<Finished>& finished) const;
  Summary summary_of_cells(const std::vector<Finished>& finished, const std::string& model,
                           const std::string& objective, const std::string& number) const;
  std::string settings_text() const;
  Report model_report(const std::vector<Finished>& finished, const std::string& model) const;

  std::string model_;
  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, epochs_ = 0, ramp_epochs_ = 0, batch_ = 0, rows_ = 0,
          tightness_images_ = 0;
  double epsilon_ = 0.1, rate_ = 2e-3;
  std::vector<double> radii_;  // of the tightness, equally spaced from one step on
  CertifiedData images_;
};

Options Paradox::options() {
  Options all = shared_options();
  add(all,
      {
          {{"seeds", "Run", "networks of each kind", "3, 1 at tiny"}, &seeds_, at_least(1)},
          {{"model", "Training", "network", "cnn3_tiny, at paper cnn3 and cnn5"}, &model_, one_of(nn::model_names())},
          {{"eps", "Training", "radius for training and verification, of pixels from 0 to 1", nullptr},
           &epsilon_,
           above(0)},
          {{"limit", "Training", "training images", "tiny 300, quick 5000, paper 60000 (CIFAR-10: 50000)"},
           &limit_,
           at_least(1)},
          {{"test-limit", "Training", "test images", "tiny 60, quick 1000, paper 10000"}, &test_limit_, at_least(1)},
          {{"epochs", "Training", "epochs", "tiny 2, quick 24, paper 70"}, &epochs_, at_least(1)},
          {{"eps-epochs", "Training", "epochs in which the radius grows from 0", "half of them"},
           &ramp_epochs_,
           at_least(1)},
          {{"batch", "Training", "images in a batch", "tiny 50, quick 100, paper 256"}, &batch_, at_least(1)},
          {{"lr", "Training", "Adam's learning rate; a fifth and a 25th of it from 5/7 and 6/7 of the epochs on",
            nullptr},
           &rate_,
           above(0)},
          {{"rows", "Training", "images of a batch that DeepPoly holds at once, for less memory", "all, paper 2"},
           &rows_,
           at_least(1)},
      });
  return all;
}

void Paradox::resolve() {
  resolve_shared();
  choose(seeds_, 1, 3, 3);
  choose(limit_, 300, 5000, data == "cifar10" ? 50000 : 60000);
  choose(test_limit_, 60, 1000, 10000);
  choose(epochs_, 2, 24, 70);
  choose(batch_, 50, 100, 256);
  choose(rows_, batch_, batch_, 2);
  if (ramp_epochs_ == 0) ramp_epochs_ = std::max<int64_t>(1, epochs_ / 2);
  require<UsageError>(ramp_epochs_ <= epochs_,
                      "mollify reproduce {}: --eps-epochs: {} given; needs at most --epochs, {}", name(), ramp_epochs_,
                      epochs_);
}

void Paradox::load() {
  tightness_images_ = std::min<int64_t>(test_limit_, is("tiny") ? 20 : 200);
  for (int64_t i = 1; i <= (is("tiny") ? 2 : 20); ++i)
    radii_.push_back(0.08 * static_cast<double>(i) / (is("tiny") ? 2 : 20));
  images_ =
      load_certified(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()), device);
}

std::vector<std::string> Paradox::models() const {
  if (!model_.empty()) return {model_};
  if (is("paper")) return {"cnn3", "cnn5"};
  return {"cnn3_tiny"};
}

Tensor Paradox::trained_weights(const Training& how, const std::filesystem::path& folder) const {
  TrainSettings::Texts more;
  if (how.objective != kNatural) more["regularizer"] = "0";
  return experiments::trained_weights(
      {data, how.model, how.objective, epsilon_, epochs_, ramp_epochs_, batch_, rows_, rate_, how.seed, more}, images_,
      folder, checkpoint_minutes, device);
}

// The mean over images of the largest radius, of those in radii_, up to which all are certified: the area under the
// curve of certified shares.
double Paradox::mean_certified_radius(const Graph& graph, Method method) const {
  const PixelRange pixels(images_.preparation, device);
  double area = 0;
  for (int64_t first = 0; first < tightness_images_; first += kVerifiedAtOnce) {
    const Images part = range(images_.test, first, std::min(kVerifiedAtOnce, tightness_images_ - first));
    const Tensor rows = nn::bounds::margin_rows(part.labels, images_.train.classes);
    for (double radius : radii_) {
      stop_if_interrupted();
      const Bounds bounds(graph, {pixel_ball(part.images, Tensor::scalar(radius), pixels)}, {.method = method});
      const std::vector<bool> held = proven(bounds.lower(rows));
      area += static_cast<double>(std::count(held.begin(), held.end(), true)) * radii_.front();
    }
  }
  return area / static_cast<double>(tightness_images_);
}

Results Paradox::train(const Training& how, const std::filesystem::path& folder) const {
  const nn::Network network = network_for(how.model, images_.train);
  const Tensor weights = trained_weights(how, folder);
  Results results{.numbers = {{"diverged", weights.defined() ? 0 : 1}}};
  if (!weights.defined()) return results;
  const NoGrad quiet;
  results.numbers["natural"] =
      score_of([&](const Tensor& w, const Tensor& images) { return network(w, images); }, weights, images_.test)
          .accuracy;
  if (how.objective != kNatural) {
    verify(network, weights, images_, epsilon_, results);
    return results;
  }
  const Graph graph(network, weights);
  for (const auto& method : kMethods)
    results.numbers[tightness_name(method.objective)] = 100 * mean_certified_radius(graph, method.method);
  return results;
}

Summary Paradox::summary_of_cells(const std::vector<Finished>& finished, const std::string& model,
                                  const std::string& objective, const std::string& number) const {
  std::vector<double> numbers;
  for (const auto& [t, results] : finished)
    if (t.model == model && t.objective == objective) numbers.push_back(results.at(number));
  return summary_of(numbers);
}

std::string Paradox::settings_text() const {
  return format(
             "The paradox of certified training (Jovanovic et al., arXiv 2102.06700).\n"
             "Scale {}, {}: {} training and {} test images, radius {}, {} seeds.\n",
             scale, data, images_.train.size(), images_.test.count(), epsilon_, seeds_) +
         format(
             "{} epochs, the radius grows over the first {}; Adam {}, a fifth from 5/7 and again from 6/7 of the "
             "epochs on;\n"
             "batch {}, gradients clipped at 10, ",
             epochs_, ramp_epochs_, rate_, batch_) +
         "IBP initialisation; no natural loss, regulariser or weight norm. Every method has the same weights and "
         "batches at the start.\n"
         "Accuracies in %, mean ± deviation over the seeds; certified by each verifier, and by the best of them for "
         "each image.\n";
}

Report Paradox::model_report(const std::vector<Finished>& finished, const std::string& model) const {
  const auto of = [&](const char* objective, const std::string& number) {
    return scaled(summary_of_cells(finished, model, objective, number), 100);
  };
  const auto tightness = [&](const char* objective) {
    return summary_of_cells(finished, model, kNatural, tightness_name(objective));
  };
  std::vector<std::string> heading = {"trained with", "tightness", "natural"};
  for (const std::string& stage : certified_stages()) heading.push_back(stage);
  Table table(heading), claims({"claim", "difference and its standard error", ""});
  for (const auto& method : kMethods) {
    std::vector<std::string> row = {method.title, with_deviation(tightness(method.objective), "%.2f"),
                                    with_deviation(of(method.objective, "natural"), "%.2f")};
    for (const std::string& stage : certified_stages())
      row.push_back(with_deviation(of(method.objective, certified_name(stage)), "%.2f"));
    table.add(row);
  }
  const auto claim = [&](const std::string& text, const Summary& less, const Summary& more) {
    claims.add({text, difference_text(less, more, "%.2f"), to_string(below(less, more))});
  };
  const auto pair = [&](const auto& loose, const auto& tight) {
    claim(format("{} is looser than {}", loose.title, tight.title), tightness(loose.objective),
          tightness(tight.objective));
    claim(format("{} certifies less than {}", tight.title, loose.title), of(tight.objective, certified_name("best")),
          of(loose.objective, certified_name("best")));
  };
  for (size_t i = 1; i < std::size(kMethods); ++i) pair(kMethods[i - 1], kMethods[i]);
  pair(kMethods[0], kMethods[std::size(kMethods) - 1]);
  Report report;
  report.add(format(
      "{} ({} weights). Tightness: mean radius, times 100, up to which the relaxation certifies a naturally "
      "trained network\n"
      "({} images, radii up to {} in steps of {}).\n",
      model, network_for(model, images_.train).weight_count(), tightness_images_, radii_.back(), radii_.front()));
  report.add(table);
  report.add("Claims: the tighter the relaxation, the worse the network. One holds beyond two standard errors.\n");
  report.add(claims);
  return report;
}

// By relaxation, from the loosest on: what its networks reach, and how tight it is; bars are deviations over the
// seeds.
std::string Paradox::picture(const std::vector<Finished>& finished) const {
  std::vector<CurvePanel> panels;
  std::vector<std::string> names;
  for (const auto& method : kMethods) names.push_back(method.title);
  for (const std::string& model : models()) {
    Curve natural{"natural accuracy", 0, {}, {}}, best{"certified by the best verifier", 2, {}, {}},
        tightness{"tightness", 3, {}, {}};
    natural.points = best.points = tightness.points = true;
    const auto add = [](Curve& curve, const Summary& summary, double scale) {
      curve.x.push_back(static_cast<double>(curve.x.size()));
      curve.y.push_back(scale * summary.mean);
      curve.deviation.push_back(scale * summary.deviation);
    };
    for (const auto& method : kMethods) {
      add(natural, summary_of_cells(finished, model, method.objective, "natural"), 100);
      add(best, summary_of_cells(finished, model, method.objective, certified_name("best")), 100);
      add(tightness, summary_of_cells(finished, model, kNatural, tightness_name(method.objective)), 1);
    }
    const auto panel = [&](const std::string& title, const char* unit, std::vector<Curve> curves) {
      const auto [low, high] = range_of(curves);
      panels.push_back({.title = title,
                        .x_title = "trained through",
                        .unit = unit,
                        .curves = std::move(curves),
                        .low = std::min(0.0, low),
                        .high = high,
                        .x_names = names});
    };
    panel(model + ": accuracy", " %", {natural, best});
    panel(model + ": tightness of the relaxation", "", {tightness});
  }
  return curves_svg(format("The paradox of certified training on {}: radius {}, {} {}", data, epsilon_, seeds_,
                           seeds_ == 1 ? "seed" : "seeds"),
                    panels);
}

Report Paradox::run(Grid& grid, const std::filesystem::path& folder) {
  std::vector<Training> trainings;
  for (const std::string& model : models())
    for (int64_t seed = 0; seed < seeds_; ++seed) {
      for (size_t i = std::size(kMethods); i-- > 0;)
        trainings.push_back({model, kMethods[i].objective, seed});  // the longest first
      trainings.push_back({model, kNatural, seed});
    }
  std::vector<Cell> cells;
  for (const Training& training : trainings)
    cells.push_back({training.key(), [this, training](const auto& own) { return train(training, own); }});
  const std::vector<Results> results = grid.run("networks", cells);

  std::vector<std::string> columns = {"natural", "diverged"};
  for (const std::string& stage : certified_stages()) columns.push_back(certified_name(stage));
  for (const auto& method : kMethods) columns.push_back(tightness_name(method.objective));
  std::string csv = "model,objective,seed";
  for (const std::string& column : columns) csv += "," + column;
  csv += "\n";
  std::vector<Finished> finished;
  int64_t diverged = 0;
  for (size_t i = 0; i < trainings.size(); ++i) {
    finished.push_back({trainings[i], results[i]});
    csv += format("{},{},{}", trainings[i].model, trainings[i].objective, trainings[i].seed);
    for (const std::string& column : columns) csv += "," + csv_number(results[i].at(column));
    csv += "\n";
    diverged += results[i].at("diverged") == 1;
  }
  write_text(folder / "results.csv", csv);
  write_text(folder / "curves.svg", picture(finished));
  Report report;
  report.add(settings_text());
  for (const std::string& model : models()) report.add(model_report(finished, model));
  if (diverged > 0) report.add(format("{} trainings diverged and have no numbers.\n", diverged));
  return report;
}

}  // namespace

std::shared_ptr<Experiment> paradox() { return std::make_shared<Paradox>(); }

}  // namespace mollify::experiments
