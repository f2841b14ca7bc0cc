// How much the update's length varies along SGD, GSmoothSGD, SVRG and GSmoothSVRG with one image a step (Starnes & Webster,
// arXiv 2311.00531, the experiment on variance reduction).
#include <mollify/experiments/curves.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/reproduce/training.h>
#include <mollify/experiments/task.h>
#include <mollify/nn/losses.h>
#include <mollify/nn/models.h>
#include <mollify/smoothing/gsmooth.h>
#include <mollify/smoothing/smooth.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

struct Method {
  const char* name;
  bool smoothed, variance_reduced;
};
constexpr Method kMethods[] = {{"SGD", false, false}, {"GSmoothSGD", true, false}, {"SVRG", false, true}, {"GSmoothSVRG", true, true}};
constexpr int kSgd = 0, kSvrg = 2, kGSmoothSvrg = 3;

const std::map<std::string, double> kPenaltyWeights = {{"activation1", 1e-13}, {"dense1", 1e-13}, {"activation2", 1e-11}, {"dense2", 1e-11}};
constexpr int64_t kFullBatch = 100;  // images whose record a full gradient holds at a time

// Found at the start and after each block of steps.
constexpr const char *kStep = "step", *kTrainLoss = "train_loss", *kTestAccuracy = "test_accuracy";
// Of ‖w_{t+1} − w_t‖: over all steps, and over each block. Within blocks: the root mean square of the blocks' deviations, in which the
// mean's fall from block to block does not count.
constexpr const char *kMean = "update_mean", *kDeviation = "update_deviation", *kWithin = "update_deviation_within_blocks";
constexpr const char* kTrainedAccuracy = "trained_test_accuracy";

class GSmoothSvrgExperiment final : public Experiment {
 public:
  const char* name() const override { return "gsmooth-svrg"; }
  const char* summary() const override { return "variation of the update along SGD, GSmoothSGD, SVRG, GSmoothSVRG (Starnes & Webster 2023)"; }
  std::vector<std::string> files() const override { return {"results.csv", "blocks.csv", "table.txt", "curves.svg"}; }
  std::vector<Option> options() override;
  void resolve() override;
  void load() override;
  std::string run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  using Finished = std::vector<std::vector<Results>>;  // [method][seed]
  Results train(const Method& method, uint64_t seed) const;

  std::string settings_text() const;
  std::string tables(const Finished& finished) const;
  std::string claims_text(const Finished& finished) const;
  std::string picture(const Finished& finished) const;
  void write_csv(const Finished& finished, const std::filesystem::path& folder) const;
  static Summary over_seeds(const std::vector<Results>& seeds, const char* number, double scale = 1);
  static Summary of_block(const std::vector<Results>& seeds, const char* series, size_t index, double scale = 1);
  size_t blocks() const { return static_cast<size_t>((steps_ + block_ - 1) / block_); }

  int64_t limit_ = 0, test_limit_ = 0, steps_ = 0, inner_ = 0, block_ = 0, seeds_ = 0;
  double sigma_ = 0.1, rate_ = 0.01;
  Images train_, test_;
  std::optional<nn::Network> network_;
};

std::vector<Option> GSmoothSvrgExperiment::options() {
  std::vector<Option> all = shared_options();
  const std::vector<Option> own = {
      {{"seeds", "Run", "seeds of weights and order", "3, 1 at tiny"}, &seeds_, at_least(1)},
      {{"limit", "Training", "training images", "5000, tiny 200"}, &limit_, at_least(1)},
      {{"test-limit", "Training", "test images", "tiny 200, quick 2000, paper all"}, &test_limit_, at_least(1)},
      {{"steps", "Training", "steps, of one image each", "tiny 120, quick 5000, paper 50000"}, &steps_, at_least(1)},
      {{"inner", "Training", "steps between two full gradients of SVRG", "1000, tiny 40"}, &inner_, at_least(1)},
      {{"block", "Training", "steps between measurements", "1000, tiny 40"}, &block_, at_least(2)},
      {{"sigma", "Training", "sigma of the paper: noise of standard deviation sigma/sqrt(2)", nullptr}, &sigma_, above(0)},
      {{"lr", "Training", "learning rate", nullptr}, &rate_, above(0)},
  };
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

void GSmoothSvrgExperiment::resolve() {
  resolve_shared();
  const auto choose = [&](int64_t& field, int64_t tiny, int64_t quick, int64_t paper) {
    if (field == 0) field = is("tiny") ? tiny : is("quick") ? quick : paper;
  };
  choose(limit_, 200, 5000, 5000);
  choose(test_limit_, 200, 2000, 10000);
  choose(steps_, 120, 5000, 50000);
  choose(inner_, 40, 1000, 1000);
  choose(block_, 40, 1000, 1000);
  choose(seeds_, 1, 3, 3);
}

void GSmoothSvrgExperiment::load() {
  const datasets::Splits images = load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()));
  const datasets::Preparation preparation = plain_preparation(data);
  train_ = prepare(images.train, preparation, device);
  test_ = prepare(images.test, preparation, device);
  network_ = network_for("cnn", images.train);
}

// GSmoothSGD and GSmoothSVRG with the plain network's loss are SGD and SVRG.
Results GSmoothSvrgExperiment::train(const Method& method, uint64_t seed) const {
  const smoothing::Sigma sigma = smoothing::Sigma::paper(method.smoothed ? sigma_ : 0);
  const smoothing::SmoothedNetwork smoothed = smooth(*network_, sigma, {.by_layer = kPenaltyWeights, .form = smoothing::Form::split});
  const Model plain = [&](const Tensor& weights, const Tensor& images) { return (*network_)(weights, images); };
  const auto batch_loss = [&](const Tensor& w, const smoothing::Sigma& s, const Images& batch) {
    return method.smoothed ? smoothing::smoothed_squared_error(smoothed(w, {}, batch.images, s), batch.labels)
                           : nn::mean_squared_error(plain(w, batch.images), batch.labels);
  };
  const smoothing::SmoothedLoss full_loss = [&](const Tensor& w, const smoothing::Sigma& s) {
    return mean_over_batches(w, train_, kFullBatch, [&](const Tensor& v, const Images& batch) { return batch_loss(v, s, batch); });
  };
  smoothing::GSmooth sgd(optim::sgd(optim::constant(rate_)), sigma);
  smoothing::GSmoothSvrg svrg(optim::constant(rate_), sigma);

  const Tensor weights = to(network_->initial_weights(nn::Initialization::fan_in_uniform, seed), device), before = copy_of(weights);
  Results results;
  const auto measure = [&](int64_t step) {
    results.series[kStep].push_back(static_cast<double>(step));
    results.series[kTrainLoss].push_back(score_of(plain, weights, train_).loss);
    results.series[kTestAccuracy].push_back(score_of(plain, weights, test_).accuracy);
  };
  measure(0);
  std::vector<double> lengths, block_lengths;
  std::vector<int32_t> order;
  bool finite = true;
  for (int64_t step = 0; finite && step < steps_; ++step) {
    stop_if_interrupted();
    const int64_t position = step % train_.count();
    if (position == 0) order = datasets::epoch_order(train_.count(), seed, step / train_.count());
    if (method.variance_reduced && step % inner_ == 0) svrg.start_round(weights, full_loss);
    const Images image = chosen(train_, std::span(order).subspan(static_cast<size_t>(position), 1));
    const smoothing::SmoothedLoss loss = [&](const Tensor& w, const smoothing::Sigma& s) { return batch_loss(w, s, image); };
    assign(before, weights);
    finite = std::isfinite((method.variance_reduced ? svrg.step(weights, loss) : sgd.step(weights, loss)).item());
    block_lengths.push_back(std::sqrt(sum(square(weights - before)).item()));
    if (block_lengths.size() < static_cast<size_t>(block_) && step + 1 < steps_) continue;
    const Summary block = summary_of(block_lengths);
    results.series[kMean].push_back(block.mean);
    results.series[kDeviation].push_back(block.deviation);
    lengths.insert(lengths.end(), block_lengths.begin(), block_lengths.end());
    block_lengths.clear();
    measure(step + 1);
  }
  const Summary all = summary_of(lengths);
  double squares = 0;
  for (double deviation : results.series[kDeviation]) squares += deviation * deviation;
  const double within = std::sqrt(squares / static_cast<double>(results.series[kDeviation].size()));
  const Model trained = [&](const Tensor& w, const Tensor& images) { return method.smoothed ? smoothed(w, images).output : plain(w, images); };
  results.numbers = {{kMean, finite ? all.mean : NAN}, {kDeviation, finite ? all.deviation : NAN}, {kWithin, finite ? within : NAN},
                     {kTrainLoss, finite ? results.series[kTrainLoss].back() : NAN}, {kTestAccuracy, score_of(plain, weights, test_).accuracy},
                     {kTrainedAccuracy, score_of(trained, weights, test_).accuracy}, {"diverged", !finite}};
  return results;
}

Summary GSmoothSvrgExperiment::over_seeds(const std::vector<Results>& seeds, const char* number, double scale) {
  std::vector<double> numbers;
  for (const Results& results : seeds) numbers.push_back(scale * results.at(number));
  return summary_of(numbers);
}

Summary GSmoothSvrgExperiment::of_block(const std::vector<Results>& seeds, const char* series, size_t index, double scale) {
  std::vector<double> numbers;
  for (const Results& results : seeds) {
    const std::vector<double>& values = results.series_at(series);
    numbers.push_back(index < values.size() ? scale * values[index] : NAN);
  }
  return summary_of(numbers);
}

std::string GSmoothSvrgExperiment::settings_text() const {
  return format("Starnes & Webster, arXiv 2311.00531: the update's length along SGD and SVRG, plain and smoothed.\n"
                "Scale {}, {}: {} training and {} test images.\n",
                scale, data, train_.count(), test_.count()) +
         format("Table 3 network ({} weights, fan-in uniform), linear output, squared error on one-hot labels; one image a step, {} steps,\n"
                "learning rate {}. SVRG: a full gradient every {} steps, at the last iterate.\n",
                network_->weight_count(), steps_, rate_, inner_) +
         format("Smoothed: sigma {} as in the paper (standard deviation sigma/sqrt(2)), split form, penalty weights 1e-13, 1e-13 (first ReLU, first\n"
                "dense), 1e-11, 1e-11 (second ReLU, output); the same sigma at SVRG's anchor.\n",
                sigma_) +
         format("Seeds: {}. Losses and accuracies are the plain network's, but for \"as trained\": the smoothed network's where there is one.\n", seeds_);
}

std::string GSmoothSvrgExperiment::tables(const Finished& finished) const {
  TextTable results({"", "test accuracy %", "as trained %", "training loss", "mean of ‖Δw‖", "deviation of ‖Δw‖", "within blocks", "diverged"});
  std::vector<std::string> heading = {"steps"};
  for (size_t m = 0; m < finished.size(); ++m) {
    const std::vector<Results>& seeds = finished[m];
    const Summary diverged = over_seeds(seeds, "diverged");
    results.add({kMethods[m].name, with_deviation(over_seeds(seeds, kTestAccuracy, 100), "%.2f"),
                 with_deviation(over_seeds(seeds, kTrainedAccuracy, 100), "%.2f"),
                 with_deviation(over_seeds(seeds, kTrainLoss), "%.4f"), with_deviation(over_seeds(seeds, kMean), "%.5f"),
                 with_deviation(over_seeds(seeds, kDeviation), "%.5f"), with_deviation(over_seeds(seeds, kWithin), "%.5f"),
                 number_text(diverged.mean * static_cast<double>(diverged.count), "%.0f")});
    heading.push_back(kMethods[m].name);
  }
  TextTable by_block(heading);
  for (size_t b = 0; b < blocks(); ++b) {
    std::vector<std::string> row = {format("{} to {}", static_cast<int64_t>(b) * block_ + 1, std::min(steps_, static_cast<int64_t>(b + 1) * block_))};
    for (const std::vector<Results>& seeds : finished) row.push_back(with_deviation(of_block(seeds, kDeviation, b), "%.5f"));
    by_block.add(row);
  }
  return "\nAfter all steps, mean ± deviation over the seeds. Δw = w_{t+1} − w_t, over all steps; within blocks: root mean square\n"
         "of the blocks' deviations, in which the fall of the mean from block to block does not count.\n" +
         results.text() + "\nDeviation of ‖Δw‖ by block.\n" + by_block.text();
}

std::string GSmoothSvrgExperiment::claims_text(const Finished& finished) const {
  TextTable table({"claim", "over", "difference and its standard error", ""});
  const auto add = [&](int a, int b) {
    const auto compare = [&](const std::string& over, const Summary& of_a, const Summary& of_b) {
      table.add({format("{} below {}", kMethods[a].name, kMethods[b].name), over, difference_text(of_a, of_b, "%.5f"), to_string(below(of_a, of_b))});
    };
    compare("all steps", over_seeds(finished[a], kDeviation), over_seeds(finished[b], kDeviation));
    compare("all steps, within blocks", over_seeds(finished[a], kWithin), over_seeds(finished[b], kWithin));
    for (size_t block = 0; blocks() > 1 && block < blocks(); block += blocks() - 1)
      compare(block == 0 ? "the first block" : "the last block", of_block(finished[a], kDeviation, block), of_block(finished[b], kDeviation, block));
  };
  add(kGSmoothSvrg, kSvrg);
  add(kSvrg, kSgd);
  return "\nClaims of the paper on the deviation of ‖Δw‖; to hold, a difference must be beyond two standard errors.\n" + table.text();
}

std::string GSmoothSvrgExperiment::picture(const Finished& finished) const {
  std::vector<CurvePanel> panels = {{"Training loss", "step", "", {}, 0, 0}, {"Test accuracy", "step", " %", {}, 0, 0, 100},
                                    {"Deviation of the update's length", "step", "", {}, 0, 0}};
  const struct { const char* series; double scale; size_t first_step; } shown[] = {{kTrainLoss, 1, 0}, {kTestAccuracy, 100, 0}, {kDeviation, 1, 1}};
  for (size_t p = 0; p < panels.size(); ++p) {
    for (size_t m = 0; m < finished.size(); ++m) {
      Curve curve{kMethods[m].name, m, {}, {}};
      for (size_t i = 0; i + shown[p].first_step <= blocks(); ++i) {
        curve.x.push_back(static_cast<double>(std::min(steps_, static_cast<int64_t>(i + shown[p].first_step) * block_)));
        const Summary summary = of_block(finished[m], shown[p].series, i, shown[p].scale);
        curve.y.push_back(summary.mean);
        curve.deviation.push_back(summary.deviation);
      }
      panels[p].curves.push_back(curve);
    }
    const auto [low, high] = range_of(panels[p].curves);
    panels[p].logarithmic = p != 1 && spans_decades(low, high);
    panels[p].low = p == 1 || panels[p].logarithmic ? low : 0;
    panels[p].high = high;
  }
  return curves_svg(format("{}: one image a step, learning rate {}, σ = {}, mean of {} {}", data, rate_, sigma_, seeds_, seeds_ == 1 ? "seed" : "seeds"), panels);
}

void GSmoothSvrgExperiment::write_csv(const Finished& finished, const std::filesystem::path& folder) const {
  std::string results = "method,seed", by_block = "method,seed,step,train_loss,test_accuracy,update_mean,update_deviation\n";
  const char* const columns[] = {kTestAccuracy, kTrainedAccuracy, kTrainLoss, kMean, kDeviation, kWithin, "diverged"};
  for (const char* column : columns) results += format(",{}", column);
  results += "\n";
  for (size_t m = 0; m < finished.size(); ++m)
    for (size_t seed = 0; seed < finished[m].size(); ++seed) {
      const Results& r = finished[m][seed];
      results += format("{},{}", kMethods[m].name, seed);
      for (const char* column : columns) results += "," + csv_number(r.at(column));
      results += "\n";
      const std::vector<double>& steps = r.series_at(kStep);
      for (size_t i = 0; i < steps.size(); ++i) {
        const auto in_block = [&](const char* series) { return i == 0 ? std::string() : csv_number(r.series_at(series)[i - 1]); };
        by_block += format("{},{},{},{},{},{},{}\n", kMethods[m].name, seed, steps[i], csv_number(r.series_at(kTrainLoss)[i]),
                           csv_number(r.series_at(kTestAccuracy)[i]), in_block(kMean), in_block(kDeviation));
      }
    }
  write_text(folder / "results.csv", results);
  write_text(folder / "blocks.csv", by_block);
}

std::string GSmoothSvrgExperiment::run(Grid& grid, const std::filesystem::path& folder) {
  std::vector<Cell> cells;
  for (const Method& method : kMethods)
    for (int64_t seed = 0; seed < seeds_; ++seed)
      cells.push_back({format("{} seed={}", method.name, seed), [this, &method, seed] { return train(method, static_cast<uint64_t>(seed)); }});
  const std::vector<Results> results = grid.run("methods and seeds", cells);
  Finished finished;
  for (size_t m = 0; m < std::size(kMethods); ++m)
    finished.emplace_back(results.begin() + static_cast<int64_t>(m) * seeds_, results.begin() + static_cast<int64_t>(m + 1) * seeds_);
  write_csv(finished, folder);
  write_text(folder / "curves.svg", picture(finished));
  const std::string table = settings_text() + tables(finished) + claims_text(finished);
  write_text(folder / "table.txt", table);
  return table;
}

}  // namespace

std::shared_ptr<Experiment> gsmooth_svrg() { return std::make_shared<GSmoothSvrgExperiment>(); }

}  // namespace mollify::experiments
