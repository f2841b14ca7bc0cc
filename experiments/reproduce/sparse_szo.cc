// Sparse zeroth-order optimisation (Ohta, Berger, Sokolov & Riezler 2020, arXiv 2006.01759): training from loss values
// alone, of all weights or of fewer and fewer. The perturbations, masks and rounds are the paper's; the learning rate
// is that of its code on the textbook's estimate, and beside it each variant's best of one grid.
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/epoch_measures.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/training/curves.h>

#include <mollify/nn/models.h>

#include <algorithm>
#include <tuple>

namespace mollify::experiments {
namespace {

// From the paper's figures; held-out masks are in its text.
constexpr struct {
  const char *name, *mask, *masked;
} kVariants[] = {
    {"dense", "none", "freeze"},
    {"freeze-magnitude", "magnitude", "freeze"},
    {"freeze-random", "random", "freeze"},
    {"freeze-held-out", "held-out", "freeze"},
    {"prune-magnitude", "magnitude", "prune"},
    {"prune-random", "random", "prune"},
    {"prune-held-out", "held-out", "prune"},
};
constexpr const char* kSgd = "sgd";
constexpr double kGrid[] = {1, 0.25, 4, 16};  // factors on the constant rate; the first of equals is chosen

// What is compared over the rounds, by name in results and metrics.
constexpr struct {
  const char *name, *title;
  bool logarithmic;
} kSeries[] = {
    {"test_accuracy", "test accuracy, %", false},
    {"train_loss", "training loss", false},
    {"active", "weights that are trained", true},
    {"distance", "squared distance of the estimate to the gradient", true},
    {"masked_distance", "the same of the weights that are trained", true},
    {"cosine", "cosine of the estimate with their gradient", false},
    {"local", "change of the gradient by that of the weights", true},
    {"neighbor", "the same within 0.5 of each weight", true},
    {"small", "share of the gradient's numbers below 1e-4", false},
};

struct Training {
  std::string variant;
  double factor;  // on the rate
  bool tuning;    // on a fifth of the images, to choose the factor
  int64_t seed;

  std::string key() const { return format("{} rate*{}{} seed={}", variant, factor, tuning ? " tuning" : "", seed); }
};

class SparseSzo final : public Experiment {
 public:
  const char* name() const override { return "sparse-szo"; }
  const char* summary() const override {
    return "Training from loss values alone, of all weights or few (Ohta et al. 2020)";
  }
  std::vector<std::string> files() const override { return {"results.csv", "curves.svg"}; }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  TrainSettings settings(const Training& how) const;
  Results train(const Training& how, const std::filesystem::path& folder) const;
  std::vector<Results> run(Grid& grid, const std::string& title, const std::vector<Training>& trainings) const;
  double best_factor(const std::string& variant) const;
  Summary summary_of_final(const std::string& variant, bool best, const std::string& number) const;
  Report report() const;
  void write_csv(const std::filesystem::path& file) const;
  Summary summary_at(const std::string& variant, const std::string& series, size_t epoch) const;
  std::string picture() const;
  std::vector<std::string> variants() const;

  int64_t seeds_ = 0, limit_ = 0, test_limit_ = 0, validation_ = 0, rounds_ = 0, epochs_of_round_ = 0, batch_ = 0,
          probes_ = 10;
  std::string model_;
  double rate_ = 1e-4, scale_ = 0.05;
  datasets::Splits images_;
  struct Finished {
    Training training;
    Results results;
  };
  std::vector<Finished> finished_;
};

Options SparseSzo::options() {
  Options all = shared_options();
  add(all,
      {{{"seeds", "Run", "networks of each kind", "3, 2 at tiny"}, &seeds_, at_least(1)},
       {{"model", "Training", "network", "lenet_300_100; szo_cnn for cifar10; linear at tiny"},
        &model_,
        one_of(nn::model_names())},
       {{"rounds", "Training", "rounds, between which a fifth of the active weights is masked", "20, tiny 3"},
        &rounds_,
        at_least(1)},
       {{"round-epochs", "Training", "epochs in a round", "1, paper 5"}, &epochs_of_round_, at_least(1)},
       {{"limit", "Training", "training images, those held out among them", "all, tiny 600"}, &limit_, at_least(1)},
       {{"test-limit", "Training", "test images", "all, tiny 200"}, &test_limit_, at_least(1)},
       {{"validation", "Training", "images held out", "10000, tiny 100"}, &validation_, at_least(1)},
       {{"batch", "Training", "images in a batch", "64"}, &batch_, at_least(1)},
       {{"probes", "Training", "perturbations a step", nullptr}, &probes_, at_least(1)},
       {{"probe-scale", "Training", "their standard deviation", nullptr}, &scale_, above(0)},
       {{"lr", "Training",
         "constant learning rate on the textbook's estimate; the grid goes from a quarter of it to 16 times it",
         nullptr},
        &rate_,
        above(0)}});
  return all;
}

void SparseSzo::resolve() {
  resolve_shared();
  choose(seeds_, 2, 3, 3);
  choose(rounds_, 3, 20, 20);
  choose(epochs_of_round_, 1, 1, 5);
  const int64_t all = data == "cifar10" ? 50000 : 60000;
  choose(limit_, 600, all, all);
  choose(test_limit_, 200, 10000, 10000);
  choose(validation_, 100, 10000, 10000);
  choose(batch_, 64, 64, 64);
  if (model_.empty()) model_ = is("tiny") ? "linear" : data == "cifar10" ? "szo_cnn" : "lenet_300_100";
  require<UsageError>(validation_ < limit_ / 5,
                      "mollify reproduce {}: --validation: {} given; needs fewer than a fifth of the {} images", name(),
                      validation_, limit_);
}

void SparseSzo::load() {
  images_ = load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()));
}

std::vector<std::string> SparseSzo::variants() const {
  std::vector<std::string> names;
  for (const auto& variant : kVariants) names.push_back(variant.name);
  names.push_back(kSgd);
  return names;
}

TrainSettings SparseSzo::settings(const Training& how) const {
  TrainSettings::Texts texts{{"data", data},
                             {"data-dir", data_dir},
                             {"model", model_},
                             {"init", "xavier_normal"},
                             {"optimizer", "sgd"},
                             {"momentum", "0"},
                             {"weight-decay", "0"},
                             {"schedule", "constant"},
                             {"augment", "off"},
                             {"epochs", std::to_string(rounds_ * epochs_of_round_)},
                             {"batch", std::to_string(batch_)},
                             {"limit", std::to_string(how.tuning ? limit_ / 5 : limit_)},
                             {"validation", std::to_string(how.tuning ? validation_ / 5 : validation_)},
                             {"seed", std::to_string(how.seed)},
                             {"device", device_request.device},
                             {"checkpoint-minutes", format("{}", checkpoint_minutes)}};
  if (how.variant == kSgd) {
    texts["lr"] = format("{}", 200 * rate_ * how.factor);  // 0.02 where the paper's code has 1e-4 for the estimate
  } else {
    texts["lr"] = format("{}", rate_ * how.factor);
    texts.insert({{"gradient", "szo"},
                  {"probes", std::to_string(probes_)},
                  {"probe-scale", format("{}", scale_)},
                  {"rate-scale", "none"}});
    for (const auto& variant : kVariants)
      if (how.variant == variant.name && how.variant != "dense")
        texts.insert(
            {{"mask", variant.mask}, {"masked", variant.masked}, {"mask-every", std::to_string(epochs_of_round_)}});
  }
  TrainSettings settings(texts);
  settings.resolve();
  return settings;
}

Results SparseSzo::train(const Training& how, const std::filesystem::path& folder) const {
  TrainSettings settings = this->settings(how);
  const int64_t epochs = settings.run().epochs;
  Task task = make_task(settings, {datasets::take(images_.train, 0, settings.run().limit), images_.test});
  EpochMeasures measures(folder / "measures.jsonl", task, {.pairs = probes_}, scale_, *settings.run().learning_rate);
  RunEvents events;
  if (!how.tuning)
    events.trained = [&](int64_t epoch, const Tensor& weights, const Tensor& state, const Positions* active) {
      measures.add(epoch, weights, state, active);
    };
  const Tensor weights = trained_weights(std::move(settings), std::move(task), folder, events);
  Results results{.numbers = {{"diverged", weights.defined() ? 0 : 1}}};
  if (!weights.defined()) return results;
  const History history = read_history(folder, epochs);
  for (const EpochMetrics& m : history.metrics) {
    results.series["test_accuracy"].push_back(100 * m.test.accuracy);
    results.series["train_loss"].push_back(m.train.loss);
    results.series["active"].push_back(static_cast<double>(m.active_weights.value_or(weights.size())));
  }
  for (auto& [name, values] : measures.series(epochs)) results.series[name] = values;
  results.numbers["final"] = results.series["test_accuracy"].back();
  const auto quarter = static_cast<size_t>((epochs + 3) / 4 - 1);
  results.numbers["early"] = results.series["test_accuracy"][quarter];
  results.numbers["best"] =
      *std::max_element(results.series["test_accuracy"].begin(), results.series["test_accuracy"].end());
  results.numbers["validation"] = 100 * history.metrics.back().validation->accuracy;
  return results;
}

std::vector<Results> SparseSzo::run(Grid& grid, const std::string& title,
                                    const std::vector<Training>& trainings) const {
  std::vector<Cell> cells;
  for (const Training& training : trainings)
    cells.push_back({training.key(), [this, training](const auto& own) { return train(training, own); }});
  return grid.run(title, cells);
}

double SparseSzo::best_factor(const std::string& variant) const {
  double best = 1, highest = -1;
  for (const auto& [training, results] : finished_)
    if (training.variant == variant && training.tuning && results.at("validation") > highest) {
      highest = results.at("validation");
      best = training.factor;
    }
  return best;
}

Summary SparseSzo::summary_of_final(const std::string& variant, bool best, const std::string& number) const {
  const double factor = best ? best_factor(variant) : 1;
  std::vector<double> numbers;
  for (const auto& [training, results] : finished_)
    if (training.variant == variant && !training.tuning && training.factor == factor)
      numbers.push_back(results.at(number));
  return summary_of(numbers);
}

Report SparseSzo::report() const {
  Report report;
  report.add(
      format("Sparse zeroth-order optimisation (Ohta et al. 2020, arXiv 2006.01759).\n"
             "Scale {}, {} on {}: {} images, {} of them held out; {} rounds of {} epochs, batch {}; {} pairs at "
             "{}, learning rate {}; {} seeds.\n"
             "Accuracies in %, mean ± deviation over the seeds: after a quarter of the epochs, the best epoch's, "
             "and the last one's; then at the variant's best of the rates {}, {}, {} and {},\n"
             "chosen on a fifth of the images.\n",
             scale, model_, data, limit_, validation_, rounds_, epochs_of_round_, batch_, probes_, scale_, rate_,
             seeds_, kGrid[1] * rate_, kGrid[0] * rate_, kGrid[2] * rate_, kGrid[3] * rate_));
  Table table({"", "at a quarter", "best", "last", "rate", "last at it"});
  for (const std::string& variant : variants()) {
    const auto of = [&](bool best, const char* number) {
      return with_deviation(summary_of_final(variant, best, number), "%.2f");
    };
    table.add({variant, of(false, "early"), of(false, "best"), of(false, "final"),
               format("{}", best_factor(variant) * rate_ * (variant == kSgd ? 200 : 1)), of(true, "final")});
  }
  report.add(table);
  report.add("What the paper says (§6.3 and its figures). A claim holds beyond two standard errors.\n");
  Table claims({"claim", "difference at one rate", "", "at the best rates", ""});
  const auto claim = [&](const char* text, const char* less, const char* more, const char* number) {
    std::vector<std::string> row = {text};
    for (const bool best : {false, true}) {
      const Summary a = summary_of_final(less, best, number), b = summary_of_final(more, best, number);
      row.push_back(difference_text(b, a, "%.2f"));
      row.push_back(to_string(below(a, b)));
    }
    claims.add(row);
  };
  claim("freezing by magnitude ends above dense training", "dense", "freeze-magnitude", "final");
  claim("freezing at random ends above dense training", "dense", "freeze-random", "final");
  claim("freezing at random ends above freezing by magnitude", "freeze-magnitude", "freeze-random", "final");
  claim("pruning by magnitude ends below dense training", "prune-magnitude", "dense", "final");
  claim("pruning at random ends below pruning by magnitude", "prune-random", "prune-magnitude", "final");
  claim("freezing ends above pruning, by magnitude", "prune-magnitude", "freeze-magnitude", "final");
  claim("freezing ends above pruning, at random", "prune-random", "freeze-random", "final");
  claim("held-out masks end above random ones, frozen", "freeze-random", "freeze-held-out", "final");
  claim("freezing at random is ahead of dense training at a quarter", "dense", "freeze-random", "early");
  claim("SGD ends above all of them", "freeze-random", kSgd, "final");
  report.add(claims);
  return report;
}

void SparseSzo::write_csv(const std::filesystem::path& file) const {
  std::string csv = "variant,rate,seed,tuning,epoch";
  std::vector<std::string> columns;
  for (const auto& series : kSeries) columns.push_back(series.name);
  for (const Decade& decade : gradient_decades()) columns.push_back(decade.name);
  for (const std::string& column : columns) csv += "," + column;
  csv += "\n";
  for (const auto& [training, results] : finished_) {
    const size_t epochs = results.series_at("test_accuracy").size();
    for (size_t epoch = 0; epoch < epochs; ++epoch) {
      csv += format("{},{},{},{},{}", training.variant, training.factor * rate_ * (training.variant == kSgd ? 200 : 1),
                    training.seed, training.tuning ? 1 : 0, epoch + 1);
      for (const std::string& column : columns) {
        const std::vector<double>& values = results.series_at(column);
        csv += "," + (epoch < values.size() ? csv_number(values[epoch]) : "");
      }
      csv += "\n";
    }
  }
  write_text(file, csv);
}

// Over the seeds, at the constant rate; of none, the count is 0.
Summary SparseSzo::summary_at(const std::string& variant, const std::string& series, size_t epoch) const {
  std::vector<double> values;
  for (const auto& [training, results] : finished_) {
    const std::vector<double>& all = results.series_at(series);
    if (training.variant == variant && !training.tuning && training.factor == 1 && epoch < all.size())
      values.push_back(all[epoch]);
  }
  return summary_of(values);
}

// Every series over the epochs, and the histogram of the last gradient: means over the seeds, with their deviations.
std::string SparseSzo::picture() const {
  const auto epochs = static_cast<size_t>(rounds_ * epochs_of_round_);
  std::vector<CurvePanel> panels;
  for (const auto& series : kSeries)
    panels.push_back({.title = series.title,
                      .x_title = "epoch",
                      .unit = "",
                      .curves = {},
                      .low = 0,
                      .high = 1,
                      .logarithmic = series.logarithmic});
  panels.push_back({.title = "histogram of the last gradient's numbers: share of a decade",
                    .x_title = "its start",
                    .unit = "",
                    .curves = {},
                    .low = 0,
                    .high = 1,
                    .logarithmic_x = true});
  const auto add = [](Curve& curve, double x, const Summary& summary) {
    if (summary.count == 0) return;
    curve.x.push_back(x);
    curve.y.push_back(summary.mean);
    curve.deviation.push_back(summary.count > 1 ? summary.deviation : 0);
  };
  for (size_t v = 0; v < variants().size(); ++v) {
    const std::string variant = variants()[v];
    for (size_t p = 0; p < panels.size(); ++p) {
      Curve curve{variant, v, {}, {}};
      if (p < std::size(kSeries))
        for (size_t epoch = 0; epoch < epochs; ++epoch)
          add(curve, static_cast<double>(epoch + 1), summary_at(variant, kSeries[p].name, epoch));
      else
        for (const Decade& decade : gradient_decades())
          add(curve, std::pow(10.0, decade.exponent), summary_at(variant, decade.name, epochs - 1));
      if (!curve.x.empty()) panels[p].curves.push_back(std::move(curve));
    }
  }
  for (CurvePanel& panel : panels) std::tie(panel.low, panel.high) = range_of(panel.curves);
  return curves_svg(format("Sparse zeroth-order optimisation: {} on {}, {} seeds", model_, data, seeds_), panels);
}

Report SparseSzo::run(Grid& grid, const std::filesystem::path& folder) {
  finished_.clear();
  const auto finish = [&](const std::string& title, const std::vector<Training>& trainings) {
    const std::vector<Results> results = run(grid, title, trainings);
    for (size_t i = 0; i < trainings.size(); ++i) finished_.push_back({trainings[i], results[i]});
  };
  std::vector<Training> tuning, trainings, tuned;
  for (const std::string& variant : variants()) {
    for (const double factor : kGrid) tuning.push_back({variant, factor, true, 0});
    for (int64_t seed = 0; seed < seeds_; ++seed) trainings.push_back({variant, 1, false, seed});
  }
  finish("rates", tuning);
  finish("networks", trainings);
  for (const std::string& variant : variants())
    for (int64_t seed = 0; seed < seeds_; ++seed)
      if (best_factor(variant) != 1) tuned.push_back({variant, best_factor(variant), false, seed});
  finish("networks at the best rates", tuned);
  write_csv(folder / "results.csv");
  write_text(folder / "curves.svg", picture());
  return report();
}

}  // namespace

std::shared_ptr<Experiment> sparse_szo() { return std::make_shared<SparseSzo>(); }

}  // namespace mollify::experiments
