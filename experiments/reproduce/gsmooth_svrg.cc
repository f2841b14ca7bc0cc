// How much the update's length varies along SGD, GSmoothSGD, SVRG and GSmoothSVRG with one image a step, under input
// and label noise (Starnes & Webster, arXiv 2311.00531, figures 4 to 6). Loss, learning rate, weights and penalties are
// those of their code, which measures the spread over 100 images at fixed weights; the spread along the steps stands
// beside it.
#include <mollify/experiments/reproduce/experiment.h>
#include <mollify/experiments/reproduce/experiments.h>
#include <mollify/experiments/reproduce/gsmooth_svrg_training.h>
#include <mollify/experiments/reproduce/heat_map.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/training/curves.h>
#include <mollify/experiments/training/task.h>

#include <algorithm>
#include <cmath>

namespace mollify::experiments {
namespace {

using namespace gsmooth_svrg_training;

constexpr Method kMethods[] = {
    {"SGD", false, false}, {"GSmoothSGD", true, false}, {"SVRG", false, true}, {"GSmoothSVRG", true, true}};
constexpr int kSgd = 0, kSvrg = 2, kGSmoothSvrg = 3;

class GSmoothSvrgExperiment final : public Experiment {
 public:
  const char* name() const override { return "gsmooth-svrg"; }
  const char* summary() const override {
    return "variation of the update along SGD, GSmoothSGD, SVRG, GSmoothSVRG (Starnes & Webster 2023)";
  }
  std::vector<std::string> files() const override {
    return {"results.csv", "blocks.csv", "curves.svg", "accuracy.svg", "deviation.svg"};
  }
  Options options() override;
  void resolve() override;
  void load() override;
  Report run(Grid& grid, const std::filesystem::path& folder) override;

 private:
  using Finished = std::vector<std::vector<Results>>;  // [method][seed], of one noise
  std::vector<Noise> noises() const;
  int64_t seeds_of(const Noise& noise) const { return noise.inputs == 0 && noise.labels == 0 ? seeds_ : 1; }

  std::string settings_text() const;
  Report tables(const Finished& finished) const;
  Report claims(const Finished& finished) const;
  std::string picture(const Finished& finished) const;
  HeatMap over_noises(const std::vector<Finished>& finished, const char* number, double scale) const;
  void write_csv(const std::vector<Finished>& finished, const std::filesystem::path& folder) const;
  static Summary over_seeds(const std::vector<Results>& seeds, const char* number, double scale = 1);
  static Summary of_block(const std::vector<Results>& seeds, const char* series, size_t index, double scale = 1);
  size_t blocks() const { return static_cast<size_t>((steps_ + block_ - 1) / block_); }

  int64_t limit_ = 0, test_limit_ = 0, anchor_ = 0, steps_ = 0, inner_ = 0, block_ = 0, seeds_ = 0;
  double sigma_ = 0.1, rate_ = 0.01;
  std::string noises_;
  std::vector<double> inputs_ = {0, 0.25, 0.5, 0.75, 1}, labels_ = {0, 0.1, 0.2, 0.3, 0.4};
  datasets::Dataset train_;
  Images test_;
  std::optional<nn::Network> network_;
};

Options GSmoothSvrgExperiment::options() {
  Options all = shared_options();
  add(all,
      {
          {{"seeds", "Run", "seeds of weights and order without noise; with noise there is one", "3, 1 at tiny"},
           &seeds_,
           at_least(1)},
          {{"noises", "Run", "clean: none; all: input deviations 0 to 1 and label shares 0 to 40 %, 25 in all",
            "all, clean at tiny"},
           &noises_,
           one_of({"clean", "all"})},
          {{"limit", "Training", "training images", "tiny 200, quick 5000, paper all"}, &limit_, at_least(1)},
          {{"anchor", "Training", "images of a full gradient of SVRG, drawn for each; all where there are no more",
            "4000"},
           &anchor_,
           at_least(1)},
          {{"test-limit", "Training", "test images", "tiny 200, quick 2000, paper all"}, &test_limit_, at_least(1)},
          {{"steps", "Training", "steps, of one image each", "5000, tiny 120"}, &steps_, at_least(1)},
          {{"inner", "Training", "steps between two full gradients of SVRG", "1000, tiny 40"}, &inner_, at_least(1)},
          {{"block", "Training", "steps between measurements", "500, tiny 40"}, &block_, at_least(2)},
          {{"sigma", "Training", "sigma of the paper: noise of standard deviation sigma/sqrt(2)", nullptr},
           &sigma_,
           above(0)},
          {{"lr", "Training", "learning rate", nullptr}, &rate_, above(0)},
      });
  return all;
}

void GSmoothSvrgExperiment::resolve() {
  resolve_shared();
  if (noises_.empty()) noises_ = is("tiny") ? "clean" : "all";
  choose(limit_, 200, 5000, data == "cifar10" ? 50000 : 60000);
  choose(anchor_, 4000, 4000, 4000);
  choose(test_limit_, 200, 2000, 10000);
  choose(steps_, 120, 5000, 5000);
  choose(inner_, 40, 1000, 1000);
  choose(block_, 40, 500, 500);
  choose(seeds_, 1, 3, 3);
}

void GSmoothSvrgExperiment::load() {
  datasets::Splits images =
      load_images(data, data_dir, limit_, test_limit_, format("mollify reproduce {}: --limit", name()));
  train_ = std::move(images.train);
  test_ = prepare(images.test, plain_preparation(data), device);
  network_ = network_for("cnn", train_);
}

std::vector<Noise> GSmoothSvrgExperiment::noises() const {
  if (noises_ == "clean") return {{0, 0}};
  std::vector<Noise> all;
  for (double inputs : inputs_)
    for (double labels : labels_) all.push_back({inputs, labels});
  return all;
}

Summary GSmoothSvrgExperiment::over_seeds(const std::vector<Results>& seeds, const char* number, double scale) {
  std::vector<double> numbers;
  for (const Results& results : seeds) numbers.push_back(scale * results.at(number));
  return summary_of(numbers);
}

Summary GSmoothSvrgExperiment::of_block(const std::vector<Results>& seeds, const char* series, size_t index,
                                        double scale) {
  std::vector<double> numbers;
  for (const Results& results : seeds) {
    const std::vector<double>& values = results.series_at(series);
    numbers.push_back(index < values.size() ? scale * values[index] : NAN);
  }
  return summary_of(numbers);
}

std::string GSmoothSvrgExperiment::settings_text() const {
  return format(
             "Starnes & Webster, arXiv 2311.00531: the update's length along SGD and SVRG, plain and smoothed.\n"
             "Scale {}, {}: {} training and {} test images.\n",
             scale, data, train_.size(), test_.count()) +
         format(
             "Table 3 network ({} weights, Xavier uniform), linear output, squared error on one-hot labels, the mean "
             "over the outputs; one image\n"
             "a step, {} steps, learning rate {}. SVRG: a full gradient of {} images every {} steps, at the last "
             "iterate.\n",
             network_->weight_count(), steps_, rate_, std::min(anchor_, train_.size()), inner_) +
         format(
             "Smoothed: sigma {} as in the paper (standard deviation sigma/sqrt(2)), split form, penalty weights 1e-7, "
             "1e-7 (first ReLU, first\n"
             "dense), 1e-5, 1e-5 (second ReLU, output), for SVRG 1e-13, 1e-13, 1e-11, 1e-11; the same sigma at SVRG's "
             "anchor.\n",
             sigma_) +
         format(
             "Seeds: {}, 1 with noise. Losses and accuracies are the plain network's, but for \"as trained\": the "
             "smoothed network's where there is\n"
             "one. At fixed weights: over {} images, at the weights after each {} steps.\n",
             seeds_, kProbes, block_);
}

Report GSmoothSvrgExperiment::tables(const Finished& finished) const {
  Table results({"", "test accuracy %", "as trained %", "training loss", "mean of ‖Δw‖", "deviation of ‖Δw‖",
                 "within blocks", "at fixed weights", "diverged"});
  std::vector<std::string> heading = {"steps"};
  for (size_t m = 0; m < finished.size(); ++m) {
    const std::vector<Results>& seeds = finished[m];
    const Summary diverged = over_seeds(seeds, kDiverged);
    results.add({kMethods[m].name, with_deviation(over_seeds(seeds, kTestAccuracy, 100), "%.2f"),
                 with_deviation(over_seeds(seeds, kTrainedAccuracy, 100), "%.2f"),
                 with_deviation(over_seeds(seeds, kTrainLoss), "%.4f"),
                 with_deviation(over_seeds(seeds, kMean), "%.5f"),
                 with_deviation(over_seeds(seeds, kDeviation), "%.5f"),
                 with_deviation(over_seeds(seeds, kWithin), "%.5f"), with_deviation(over_seeds(seeds, kFixed), "%.5f"),
                 number_text(diverged.mean * static_cast<double>(diverged.count), "%.0f")});
    heading.push_back(kMethods[m].name);
  }
  Table by_block(heading);
  for (size_t b = 0; b < blocks(); ++b) {
    std::vector<std::string> row = {format("{} to {}", static_cast<int64_t>(b) * block_ + 1,
                                           std::min(steps_, static_cast<int64_t>(b + 1) * block_))};
    for (const std::vector<Results>& seeds : finished)
      row.push_back(with_deviation(of_block(seeds, kDeviation, b), "%.5f"));
    by_block.add(row);
  }
  Report report;
  report.add(
      "Without noise, after all steps, mean ± deviation over the seeds. Δw = w_{t+1} − w_t, over all steps; within "
      "blocks: root mean square\n"
      "of the blocks' deviations, in which the fall of the mean from block to block does not count; at fixed weights: "
      "root mean square of\n"
      "the deviations over images there.\n");
  report.add(results);
  report.add("Deviation of ‖Δw‖ by block.\n");
  report.add(by_block);
  return report;
}

Report GSmoothSvrgExperiment::claims(const Finished& finished) const {
  Table table({"claim", "over", "difference and its standard error", ""});
  const auto add = [&](int a, int b) {
    const auto compare = [&](const std::string& over, const Summary& of_a, const Summary& of_b) {
      table.add({format("{} below {}", kMethods[a].name, kMethods[b].name), over, difference_text(of_a, of_b, "%.5f"),
                 to_string(below(of_a, of_b))});
    };
    compare("all steps", over_seeds(finished[a], kDeviation), over_seeds(finished[b], kDeviation));
    compare("all steps, within blocks", over_seeds(finished[a], kWithin), over_seeds(finished[b], kWithin));
    compare("images, at fixed weights", over_seeds(finished[a], kFixed), over_seeds(finished[b], kFixed));
    for (size_t block = 0; blocks() > 1 && block < blocks(); block += blocks() - 1)
      compare(block == 0 ? "the first block" : "the last block", of_block(finished[a], kDeviation, block),
              of_block(finished[b], kDeviation, block));
  };
  add(kGSmoothSvrg, kSvrg);
  add(kSvrg, kSgd);
  Report report;
  report.add(
      "Claims of the paper on the deviation of ‖Δw‖, without noise; to hold, a difference must be beyond two standard "
      "errors.\n");
  report.add(table);
  return report;
}

std::string GSmoothSvrgExperiment::picture(const Finished& finished) const {
  std::vector<CurvePanel> panels = {{"Training loss", "step", "", {}, 0, 0},
                                    {"Test accuracy", "step", " %", {}, 0, 0, 100},
                                    {"Deviation of the update's length", "step", "", {}, 0, 0}};
  const struct {
    const char* series;
    double scale;
    size_t first_step;
  } shown[] = {{kTrainLoss, 1, 0}, {kTestAccuracy, 100, 0}, {kDeviation, 1, 1}};
  for (size_t p = 0; p < panels.size(); ++p) {
    for (size_t m = 0; m < finished.size(); ++m) {
      Curve curve{kMethods[m].name, m, {}, {}};
      for (size_t i = 0; i + shown[p].first_step <= blocks(); ++i) {
        curve.x.push_back(
            static_cast<double>(std::min(steps_, static_cast<int64_t>(i + shown[p].first_step) * block_)));
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
  return curves_svg(format("{}: one image a step, learning rate {}, σ = {}, mean of {} {}", data, rate_, sigma_, seeds_,
                           seeds_ == 1 ? "seed" : "seeds"),
                    panels);
}

// Panels by method, of a number's mean over the seeds.
HeatMap GSmoothSvrgExperiment::over_noises(const std::vector<Finished>& finished, const char* number,
                                           double scale) const {
  HeatMap map;
  map.rows_title = "standard deviation of input noise";
  map.columns_title = "share of random labels";
  map.panels_in_line = std::size(kMethods);
  for (double inputs : inputs_) map.row_names.push_back(format("{}", inputs));
  for (double labels : labels_) map.column_names.push_back(format("{} %", std::lround(100 * labels)));
  for (size_t m = 0; m < std::size(kMethods); ++m) {
    HeatMap::Panel panel{kMethods[m].name,
                         std::vector<std::vector<double>>(inputs_.size(), std::vector<double>(labels_.size(), NAN))};
    for (size_t i = 0; i < finished.size(); ++i)
      panel.values[i / labels_.size()][i % labels_.size()] = over_seeds(finished[i][m], number, scale).mean;
    map.panels.push_back(panel);
  }
  return map;
}

void GSmoothSvrgExperiment::write_csv(const std::vector<Finished>& finished,
                                      const std::filesystem::path& folder) const {
  std::string results = "method,input_noise,label_noise,seed";
  std::string by_block =
      results + ",step,train_loss,test_accuracy,update_mean,update_deviation,update_deviation_at_fixed_weights\n";
  const char* const columns[] = {kTestAccuracy, kTrainedAccuracy, kTrainLoss, kMean,
                                 kDeviation,    kWithin,          kFixed,     kDiverged};
  for (const char* column : columns) results += format(",{}", column);
  results += "\n";
  const std::vector<Noise> all = noises();
  for (size_t n = 0; n < all.size(); ++n)
    for (size_t m = 0; m < finished[n].size(); ++m)
      for (size_t seed = 0; seed < finished[n][m].size(); ++seed) {
        const Results& r = finished[n][m][seed];
        const std::string cell = format("{},{},{},{}", kMethods[m].name, all[n].inputs, all[n].labels, seed);
        results += cell;
        for (const char* column : columns) results += "," + csv_number(r.at(column));
        results += "\n";
        const std::vector<double>& steps = r.series_at(kStep);
        for (size_t i = 0; i < steps.size(); ++i) {
          const auto in_block = [&](const char* series) {
            return i == 0 ? std::string() : csv_number(r.series_at(series)[i - 1]);
          };
          by_block += format("{},{},{},{},{},{},{}\n", cell, steps[i], csv_number(r.series_at(kTrainLoss)[i]),
                             csv_number(r.series_at(kTestAccuracy)[i]), in_block(kMean), in_block(kDeviation),
                             in_block(kFixed));
        }
      }
  write_text(folder / "results.csv", results);
  write_text(folder / "blocks.csv", by_block);
}

Report GSmoothSvrgExperiment::run(Grid& grid, const std::filesystem::path& folder) {
  const std::vector<Noise> all = noises();
  const gsmooth_svrg_training::Setting setting{.network = *network_,
                                               .images = train_,
                                               .test = test_,
                                               .preparation = plain_preparation(data),
                                               .steps = steps_,
                                               .block = block_,
                                               .inner = inner_,
                                               .anchor = anchor_,
                                               .sigma = sigma_,
                                               .rate = rate_,
                                               .device = device};
  std::vector<Cell> cells;
  for (const Noise& noise : all)
    for (const Method& method : kMethods)
      for (int64_t seed = 0; seed < seeds_of(noise); ++seed)
        cells.push_back({format("{} inputs={} labels={} seed={}", method.name, noise.inputs, noise.labels, seed),
                         [&, noise, seed](const auto& own) {
                           return train(method, noise, static_cast<uint64_t>(seed), setting,
                                        CellCheckpoint(own, checkpoint_minutes));
                         }});
  const std::vector<Results> results = grid.run("methods, noises and seeds", cells);
  std::vector<Finished> finished(all.size());
  auto next = results.begin();
  for (size_t n = 0; n < all.size(); ++n)
    for (size_t m = 0; m < std::size(kMethods); ++m, next += seeds_of(all[n]))
      finished[n].emplace_back(next, next + seeds_of(all[n]));

  write_csv(finished, folder);
  write_text(folder / "curves.svg", picture(finished[0]));
  HeatMap accuracy = over_noises(finished, kTrainedAccuracy, 100), deviation = over_noises(finished, kFixed, 1e3);
  accuracy.heading = format("Test accuracy on {} after training with noise, one image a step", data);
  accuracy.values_title = "accuracy %";
  deviation.heading = format("Deviation of ‖Δw‖ over images at fixed weights on {}, in thousandths", data);
  deviation.values_title = "deviation · 1000";
  write_text(folder / "accuracy.svg", heat_map_svg(accuracy));
  write_text(folder / "deviation.svg", heat_map_svg(deviation));
  Report report;
  report.add(settings_text());
  report.add(tables(finished[0]));
  report.add(claims(finished[0]));
  if (all.size() > 1) {
    report.add(heat_map_report(accuracy));
    report.add(heat_map_report(deviation));
  }
  return report;
}

}  // namespace

std::shared_ptr<Experiment> gsmooth_svrg() { return std::make_shared<GSmoothSvrgExperiment>(); }

}  // namespace mollify::experiments
