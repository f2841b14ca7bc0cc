#include <mollify/experiments/robustness/predict_by_votes.h>

#include <mollify/engine/cpu/threads.h>
#include <mollify/engine/grad.h>
#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/processes.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/smoothing/randomized/statistics.h>
#include <mollify/smoothing/randomized/votes.h>

#include <cstdio>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

struct Predicted {
  int64_t index;
  int32_t label, predicted, plain;  // an abstention is the class −1; plain: what the network says without noise
  int64_t first, second, draws;     // votes for the two most frequent classes, of so many
  double seconds;

  bool correct() const { return predicted == label; }
};

ordered_json json_of(const Predicted& p) {
  return {{"index", p.index}, {"label", p.label},   {"predicted", p.predicted}, {"plain", p.plain},
          {"first", p.first}, {"second", p.second}, {"draws", p.draws},         {"seconds", p.seconds}};
}

Predicted predicted_of(const ordered_json& line) {
  return {line.at("index"), line.at("label"),  line.at("predicted"), line.at("plain"),
          line.at("first"), line.at("second"), line.at("draws"),     line.at("seconds")};
}

void write_tsv(const std::filesystem::path& file, const std::vector<Predicted>& all) {
  std::string text = "idx\tlabel\tpredict\tcorrect\ttime\tcount\tsecond\tn\tplain\n";
  for (const Predicted& p : all)
    text += format("{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\n", p.index, p.label, p.predicted, p.correct() ? 1 : 0,
                   time_text(p.seconds), p.first, p.second, p.draws, p.plain);
  write_text(file, text);
}

void print(const EvaluateCommand& command, const Classifier& classifier, const std::vector<Predicted>& all,
           double seconds) {
  int64_t correct = 0, abstained = 0, agreeing = 0, plainly_correct = 0;
  for (const Predicted& p : all) {
    correct += p.correct();
    abstained += p.predicted < 0;
    agreeing += p.predicted == p.plain;
    plainly_correct += p.plain == p.label;
  }
  const auto share = [&](int64_t count) {
    return all.empty() ? 0 : static_cast<double>(count) / static_cast<double>(all.size());
  };
  if (command.json) {
    const ordered_json out = {{"weights", command.request.weights},
                              {"data", classifier.images().name},
                              {"split", command.request.split},
                              {"images", all.size()},
                              {"noise", *command.votes.noise},
                              {"draws", command.votes.trials},
                              {"alpha", command.votes.alpha},
                              {"accuracy", share(correct)},
                              {"abstained", abstained},
                              {"agreement", share(agreeing)},
                              {"plain_accuracy", share(plainly_correct)}};
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s\n", format("{} on {} {} images of {}, {}", command.request.weights, all.size(), command.request.split,
                             classifier.images().name, text_of(command.votes))
                          .c_str());
  std::printf("accuracy            %6.2f %%   (an abstention is wrong: %lld abstained, %.1f s)\n", 100 * share(correct),
              static_cast<long long>(abstained), seconds);
  std::printf("without noise       %6.2f %%\nthe same answer     %6.2f %%\n", 100 * share(plainly_correct),
              100 * share(agreeing));
}

}  // namespace

int predict_by_votes(const EvaluateCommand& command) {
  const NoiseRequest& how = command.votes;
  const int64_t fewest = smoothing::fewest_predicting_draws(how.alpha);
  require<UsageError>(how.trials >= fewest,
                      "mollify eval: --n: {} given; no votes of so few answer at --alpha {}, which needs at least {}",
                      how.trials, how.alpha, fewest);
  use_threads(command.threads);
  catch_interrupts();
  const auto start = Clock::now();
  const Classifier classifier("eval", command.request, use_device("eval", command.device));
  EvaluateCommand copy = command;
  ImageLog log("eval", command.log, options_of(copy), command.request.weights,
               [](const ordered_json& line) { predicted_of(line); });
  const smoothing::NoisyClassifier g = smoothing::captured(
      {classifier.function(DType::f32),
       {*how.noise, static_cast<uint64_t>(command.seed)},
       command.batch > 0 ? command.batch : evaluation_batch(classifier.images())});
  const int64_t total = classifier.images().size();
  const ImageLog::Course course = log.add_left(total, "votes", [&](int32_t index) {
    const auto begin = Clock::now();
    const NoGrad quiet;
    const Classifier::Batch image = classifier.batch({index});
    const smoothing::Prediction found = smoothing::predict(g, {image.pixels, image.rows}, how.trials, how.alpha)[0];
    const auto plain = argmax(g.f(image.pixels)).to_vector<int32_t>()[0];
    return json_of({index, image.labels.to_vector<int32_t>()[0], found.predicted, plain, found.first, found.second,
                    how.trials, seconds_since(begin)});
  });
  if (Processes::all().is_first()) {
    std::vector<Predicted> all;
    for (const auto& [index, line] : log.lines(total)) all.push_back(predicted_of(line));
    if (!log.folder().empty()) write_tsv(log.folder() / "predict.tsv", all);
    print(command, classifier, all, seconds_since(start));
  }
  return log.status_after(course);
}

}  // namespace mollify::experiments
