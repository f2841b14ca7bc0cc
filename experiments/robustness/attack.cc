#include <mollify/experiments/robustness/attack.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/robustness/attacked_images.h>
#include <mollify/experiments/robustness/image_log.h>
#include <mollify/experiments/robustness/noise_request.h>
#include <mollify/experiments/training/metrics.h>
#include <mollify/smoothing/attacks/suites.h>

#include <algorithm>
#include <cstdio>

namespace mollify::experiments {
namespace {

using smoothing::Objective;

constexpr struct {
  const char* name;
  Objective objective;
} kObjectives[] = {{"cross-entropy", Objective::cross_entropy},
                   {"margin", Objective::margin},
                   {"targeted-margins", Objective::targeted_margins}};

bool is_one_of(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}
bool finds_nearest(const std::string& attack) { return is_one_of(attack, {"ddn", "fab", "fab-t"}); }
bool is_sequence(const std::string& attack) { return is_one_of(attack, {"standard", "plus", "rand"}); }

// Options that only some attacks have.
void check(const AttackCommand& c) {
  const auto only = [&](bool given, const char* option, bool fits, const char* attacks) {
    require<UsageError>(!given || fits, "mollify attack: {}: given with --attack {}; it goes with {}", option, c.attack,
                        attacks);
  };
  const bool pgd = c.attack == "pgd", sequence = is_sequence(c.attack);
  only(!c.objective.empty(), "--objective", pgd, "pgd");
  only(c.step_size > 0, "--step-size", pgd, "pgd");
  only(c.levels > 0, "--levels", c.attack == "ddn", "ddn");
  only(c.queries > 0, "--queries", sequence || c.attack == "square", "square and sequences");
  only(c.targets > 0, "--targets", sequence || is_one_of(c.attack, {"pgd", "apgd-t", "fab-t"}),
       "pgd, apgd-t, fab-t and sequences");
  only(c.steps > 0, "--steps", !is_one_of(c.attack, {"fgsm", "square"}), "attacks that have gradients and steps");
  only(c.restarts > 0, "--restarts", !is_one_of(c.attack, {"fgsm", "ddn"}), "attacks that have random starts");
  only(c.norm == "linf", "--norm linf", c.attack != "ddn", "all but ddn, which needs --norm l2");
  require<UsageError>(
      !c.epsilon.empty() || finds_nearest(c.attack),
      "mollify attack: --eps: nothing given; needs a radius, such as 0.1 or 8/255, but for ddn, fab and "
      "fab-t, which look for the nearest image");
  require<UsageError>(c.target < 0 || c.top == 1, "mollify attack: --top: {} given with --target; needs one of them",
                      c.top);
}

smoothing::AttackOptions attack_options(const AttackCommand& c) {
  const auto given = [](int64_t value) { return value > 0 ? std::optional<int64_t>(value) : std::nullopt; };
  smoothing::AttackOptions options{.steps = given(c.steps),
                                   .restarts = given(c.restarts),
                                   .targets = given(c.targets),
                                   .queries = given(c.queries),
                                   .levels = given(c.levels)};
  if (c.step_size > 0) options.step_size = c.step_size;
  for (const auto& [name, objective] : kObjectives)
    if (c.objective == name) options.objective = objective;
  return options;
}

smoothing::Threat threat_of(const AttackCommand& c) {
  smoothing::Threat threat{.norm = c.norm == "l2" ? smoothing::Norm::l2 : smoothing::Norm::linf,
                           .epsilon = c.epsilon.empty() ? INFINITY : radius_of("mollify attack: --eps", c.epsilon),
                           .box = {Tensor::scalar(0), Tensor::scalar(1)},
                           .goal = {.top = c.top, .targeted = c.target >= 0},
                           .seed = static_cast<uint64_t>(c.seed)};
  if (c.noise)
    threat.draws = smoothing::NoiseDraws{
        .noise = {*c.noise, threat.seed},
        .count = c.draws,
        .average = c.average == "losses" ? smoothing::Average::mean_of_losses : smoothing::Average::log_of_mean};
  return threat;
}

// Images of the log that a goal is about: not those that are of the target's class already.
std::vector<int32_t> images_left(const AttackCommand& c, const Classifier& classifier, const ImageLog& log) {
  std::vector<int32_t> left = log.left(classifier.images().size());
  std::erase_if(left,
                [&](int32_t index) { return classifier.images().labels[static_cast<size_t>(index)] == c.target; });
  return left;
}

// Attacks one batch: its lines, and the images that were found.
std::pair<std::vector<AttackedImage>, Tensor> attacked(const AttackCommand& c, const Classifier& classifier,
                                                       const std::vector<smoothing::Attack>& attacks,
                                                       const std::vector<int32_t>& indices) {
  const Classifier::Batch batch = classifier.batch(indices);
  const auto f = classifier.function(DType::f32);
  smoothing::Threat threat = threat_of(c), still = threat;
  threat.rows = still.rows = batch.rows;
  still.epsilon = 0;
  const Tensor labels =
      c.target < 0 ? batch.labels
                   : full(batch.labels.shape(), static_cast<double>(c.target), DType::i32, classifier.device());
  const smoothing::Adversarial plain = smoothing::judged(f, batch.pixels, labels, batch.pixels, still);
  const smoothing::SequenceResult all = smoothing::in_sequence(attacks, f, batch.pixels, labels, threat);
  const std::vector<uint8_t> wrong = plain.success.to_vector<uint8_t>(),
                             broken = all.found.success.to_vector<uint8_t>();
  const std::vector<double> margins = cast(all.found.margins, DType::f64).to_vector<double>(),
                            distances = all.found.distances.to_vector<double>();
  const std::vector<int32_t> given = batch.labels.to_vector<int32_t>();
  std::vector<AttackedImage> lines;
  for (size_t i = 0; i < indices.size(); ++i) {
    AttackedImage line{indices[i], given[i], wrong[i] == 0, broken[i] != 0, margins[i], {}, ""};
    if (line.broken) {
      line.distance = distances[i];
      line.by = attacks[static_cast<size_t>(all.broken_by[i])].name;
    }
    lines.push_back(line);
  }
  return {lines, to(all.found.inputs, Device::cpu)};
}

void warn(const AttackCommand& c, const Classifier& classifier, const std::vector<int32_t>& left) {
  if (c.noise || left.empty()) return;
  const Classifier::Batch first =
      classifier.batch({left.begin(), left.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(left.size(), 64))});
  for (const std::string& warning :
       smoothing::attack_warnings(classifier.function(DType::f32), first.pixels, first.labels))
    std::fprintf(stderr, "mollify attack: warning: %s\n", warning.c_str());
}

}  // namespace

int attack_command(const AttackCommand& command) {
  check(command);
  threat_of(command);  // throws for a radius that is none
  require_one_process(format("mollify attack: --attack: {}", command.attack));
  use_threads(command.threads);
  catch_interrupts();
  const Classifier classifier("attack", command.request, use_device("attack", command.device));
  const int64_t classes = classifier.images().classes, total = classifier.images().size();
  require<UsageError>(command.top < classes && command.target < classes,
                      "mollify attack: {}: {} given; {} has {} classes", command.top < classes ? "--target" : "--top",
                      command.top < classes ? command.target : command.top, classifier.images().name, classes);
  const std::vector<smoothing::Attack> attacks = smoothing::attacks_named(command.attack, attack_options(command));
  AttackCommand copy = command;
  ImageLog log("attack", command.log, options_of(copy), command.request.weights,
               [](const nlohmann::ordered_json& line) { attacked_of(line); });
  const std::vector<int32_t> left = images_left(command, classifier, log);
  AttackedPixels pixels(log.folder(), total, classifier.image_shape());
  warn(command, classifier, left);

  const auto start = Clock::now();
  const auto done = static_cast<int64_t>(log.lines(total).size()), wanted = done + static_cast<int64_t>(left.size());
  {
    Progress progress("attack", wanted, done);
    for (size_t first = 0; first < left.size() && !interrupted(); first += static_cast<size_t>(command.batch)) {
      const size_t last = std::min(left.size(), first + static_cast<size_t>(command.batch));
      const auto [lines, found] = attacked(
          command, classifier, attacks,
          {left.begin() + static_cast<std::ptrdiff_t>(first), left.begin() + static_cast<std::ptrdiff_t>(last)});
      for (size_t i = 0; i < lines.size(); ++i) {
        pixels.write(lines[i].index, found[static_cast<int64_t>(i)]);
        log.add(json_of(lines[i]));
      }
      progress.update(done + static_cast<int64_t>(last));
    }
  }
  std::vector<AttackedImage> all;
  for (const auto& [index, line] : log.lines(total)) all.push_back(attacked_of(line));
  const bool by_radius = command.epsilon.empty();
  if (!log.folder().empty())
    write_text(log.folder() / "attack.svg", accuracy_by_distance_svg(all, command.norm, command.attack));
  std::vector<std::string> names;
  for (const smoothing::Attack& attack : attacks) names.push_back(attack.name);
  const AttackSummary summary(all, names);
  if (command.json) {
    nlohmann::ordered_json out = {{"weights", command.request.weights},
                                  {"data", classifier.images().name},
                                  {"split", command.request.split},
                                  {"images", all.size()},
                                  {"attack", command.attack},
                                  {"norm", command.norm},
                                  {"epsilon", nullptr}};
    if (!by_radius) out["epsilon"] = threat_of(command).epsilon;
    out.update(summary.json());
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("%s\n%s(%.1f s)\n",
                format("{} on {} {} images of {}, {} {}{}, {}", command.request.weights, all.size(),
                       command.request.split, classifier.images().name, command.norm,
                       by_radius ? "distance" : "radius ", command.epsilon, command.attack)
                    .c_str(),
                summary.text().c_str(), seconds_since(start));
  }
  return log.status_after({static_cast<int64_t>(all.size()), wanted});
}

Options options_of(AttackCommand& c) {
  Options all;
  add(all, classifier_options(c.request));
  add(all,
      {{{"attack", "Attack",
         "fgsm, pgd, ddn, apgd-ce, apgd-dlr, apgd-t, fab, fab-t or square; or AutoAttack's sequences standard, plus, "
         "and rand (for --noise)",
         nullptr},
        &c.attack,
        one_of(smoothing::attack_names())},
       {{"eps", "Attack",
         "radius, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation; ddn and fab may go without and then "
         "look for the nearest image",
         "", false, false, "X"},
        &c.epsilon,
        {}},
       {{"norm", "Attack", "norm of the ball, within which pixels stay 0 to 1", nullptr},
        &c.norm,
        one_of({"linf", "l2"})},
       {{"top", "Attack", "succeed where the label is not among so many largest outputs", nullptr},
        &c.top,
        at_least(1)},
       {{"target", "Attack", "succeed where this class has the largest output; images of it are left out", "none"},
        &c.target,
        at_least(0)},
       {{"steps", "Attack", "steps of a run", "40 of pgd, else 100"}, &c.steps, at_least(1)},
       {{"restarts", "Attack", "runs, from random starts; with targets, for each class",
         "5 of pgd and in plus, else 1"},
        &c.restarts,
        at_least(1)},
       {{"targets", "Attack", "classes that are tried one by one, the largest outputs first", "9; all of pgd"},
        &c.targets,
        at_least(1)},
       {{"queries", "Attack", "evaluations of square", "5000"}, &c.queries, at_least(1)},
       {{"objective", "Attack",
         "what pgd's steps climb; targeted-margins tries every wrong class and is the strongest and dearest", "margin"},
        &c.objective,
        one_of({kObjectives[0].name, kObjectives[1].name, kObjectives[2].name})},
       {{"step-size", "Attack", "length of pgd's every step", "from eps down to eps/steps"}, &c.step_size, above(0)},
       {{"levels", "Attack", "ddn ends on multiples of 1/levels, such as 255", "any number"}, &c.levels, at_least(1)},
       {{"noise", "Noise", "standard deviation, of pixels from 0 to 1: attack what votes under this noise decide",
         "none"},
        &c.noise,
        above(0)},
       {{"draws", "Noise", "draws of noise an evaluation", nullptr}, &c.draws, Rule{.low = 1, .high = 65536}},
       {{"average", "Noise", "over the draws: the loss of mean probabilities (SmoothAdv), or the mean of losses",
         nullptr},
        &c.average,
        one_of({"probabilities", "losses"})},
       {{"seed", "Attack", "seed of starts, squares and noise", nullptr}, &c.seed, at_least(0)},
       {{"batch", "Run", "images attacked at once; results do not depend on it", nullptr, true},
        &c.batch,
        at_least(1)}});
  add(all, image_log_options(c.log));
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run"), {{"json", "Run", "print one JSON object", nullptr, true}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
