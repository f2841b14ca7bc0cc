#include <mollify/experiments/robustness/attack.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/progress.h>
#include <mollify/nn/formats/npy.h>
#include <mollify/smoothing/attacks/pgd.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <numeric>

namespace mollify::experiments {
namespace {

smoothing::Objective objective_named(const std::string& name) {
  if (name == "cross-entropy") return smoothing::Objective::cross_entropy;
  return name == "margin" ? smoothing::Objective::margin : smoothing::Objective::targeted_margins;
}

int64_t count_of(const Tensor& mask) { return static_cast<int64_t>(sum(cast(mask, DType::f64)).item()); }

void print(const AttackCommand& command, double epsilon, const Classifier& classifier, int64_t natural,
           int64_t attacked, double seconds) {
  const double images = static_cast<double>(classifier.images().size());
  if (command.json) {
    const nlohmann::ordered_json out = {{"weights", command.request.weights},
                                        {"data", classifier.images().name},
                                        {"split", command.request.split},
                                        {"images", classifier.images().size()},
                                        {"epsilon", epsilon},
                                        {"norm", command.norm},
                                        {"objective", command.objective},
                                        {"steps", command.steps},
                                        {"restarts", command.restarts},
                                        {"natural", static_cast<double>(natural) / images},
                                        {"attacked", static_cast<double>(attacked) / images}};
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  std::printf("%s\n", format("{} on the first {} {} images of {}, {} radius {}, {} steps, {} restarts",
                             command.request.weights, classifier.images().size(), command.request.split,
                             classifier.images().name, command.norm, command.epsilon, command.steps, command.restarts)
                          .c_str());
  std::printf("natural accuracy   %6.2f %%\nattacked accuracy  %6.2f %%   (%.1f s)\n",
              100 * static_cast<double>(natural) / images, 100 * static_cast<double>(attacked) / images, seconds);
}

}  // namespace

int attack_command(const AttackCommand& command) {
  const double epsilon = radius_of("mollify attack: --eps", command.epsilon);
  use_threads(command.threads);
  catch_interrupts();
  const Classifier classifier("attack", command.request, use_device("attack", command.device));
  const auto f = classifier.function(DType::f32);
  smoothing::PgdOptions options{.norm = command.norm == "l2" ? smoothing::Norm::l2 : smoothing::Norm::linf,
                                .epsilon = epsilon,
                                .objective = objective_named(command.objective),
                                .steps = command.steps,
                                .step_size = command.step_size,
                                .restarts = command.restarts,
                                .seed = static_cast<uint64_t>(command.seed)};
  const smoothing::Box box{Tensor::scalar(0), Tensor::scalar(1)};
  const auto start = Clock::now();
  StatusLine status;
  std::vector<Tensor> examples;
  int64_t natural = 0, attacked = 0;
  const int64_t total = classifier.images().size();
  for (int64_t first = 0; first < total; first += command.batch) {
    if (interrupted()) {
      std::fprintf(stderr, "%s\n", format("mollify attack: interrupted after {} of {} images", first, total).c_str());
      return 130;
    }
    std::vector<int32_t> indices(static_cast<size_t>(std::min(command.batch, total - first)));
    std::iota(indices.begin(), indices.end(), static_cast<int32_t>(first));
    const Classifier::Batch batch = classifier.batch(indices);
    options.rows = batch.rows;
    natural += count_of(equal(argmax(f(batch.pixels)), batch.labels));
    const smoothing::Adversarial found = smoothing::pgd(f, batch.pixels, batch.labels, options, box);
    attacked += batch.labels.size() - count_of(found.success);
    if (!command.out.empty()) examples.push_back(to(found.inputs, Device::cpu));
    status.update(format("{} of {} images attacked, {} resisted", first + batch.labels.size(), total, attacked));
  }
  if (!command.out.empty()) nn::formats::write_npy(command.out, concat(examples));
  print(command, epsilon, classifier, natural, attacked, seconds_since(start));
  return 0;
}

Options options_of(AttackCommand& c) {
  Options all;
  add(all, classifier_options(c.request));
  add(all,
      {{{"eps", "Attack", "radius, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation", "", false, false,
         "X"},
        &c.epsilon,
        {}},
       {{"norm", "Attack", "norm of the ball, within which pixels stay 0 to 1", nullptr},
        &c.norm,
        one_of({"linf", "l2"})},
       {{"objective", "Attack",
         "what the steps climb; targeted-margins tries every wrong class and is the strongest and dearest", nullptr},
        &c.objective,
        one_of({"cross-entropy", "margin", "targeted-margins"})},
       {{"steps", "Attack", "steps of a run", nullptr}, &c.steps, at_least(1)},
       {{"restarts", "Attack", "runs, from random starts; with targeted-margins, for each class", nullptr},
        &c.restarts,
        at_least(1)},
       {{"step-size", "Attack", "length of every step", "from eps down to eps/steps"}, &c.step_size, above(0)},
       {{"seed", "Attack", "seed of the starts", nullptr}, &c.seed, at_least(0)},
       {{"out", "Run",
         "file (.npy) for the attacked images, f32 [N, H, W, C] with pixels 0 to 1; an image without "
         "success is its strongest try, "
         "and one that is wrong anyhow is itself",
         "none"},
        &c.out,
        {}},
       {{"batch", "Run", "images attacked at once", nullptr}, &c.batch, at_least(1)}});
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run"), {{"json", "Run", "print one JSON object", nullptr}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
