#include <mollify/experiments/robustness/certify.h>

#include <mollify/experiments/device.h>
#include <mollify/experiments/interrupt.h>
#include <mollify/experiments/json.h>
#include <mollify/experiments/progress.h>
#include <mollify/experiments/reproduce/report.h>
#include <mollify/experiments/robustness/cascade.h>
#include <mollify/experiments/robustness/certify_by_average.h>
#include <mollify/experiments/robustness/certify_by_votes.h>

#include <cmath>
#include <cstdio>
#include <map>

namespace mollify::experiments {
namespace {

using nlohmann::ordered_json;

ordered_json json_of(const Decision& d) {
  return {{"index", d.index},
          {"label", d.label},
          {"predicted", d.predicted},
          {"stage", d.stage},
          {"margin", std::isfinite(d.margin) ? ordered_json(d.margin) : ordered_json()},
          {"verdict", d.verdict}};
}

Decision decision_of(const ordered_json& line) {
  return {line.at("index"), line.at("label"),   line.at("predicted"),
          line.at("stage"), line.at("verdict"), line.at("margin").is_null() ? NAN : line.at("margin").get<double>()};
}

struct StageCount {
  int64_t wrong = 0, certified = 0, attacked = 0;
};

struct Totals {
  std::map<std::string, StageCount> stages;
  int64_t images = 0, natural = 0, resisting = 0, certified = 0, unknown = 0;

  Totals(const ImageLog& log, int64_t up_to) {
    for (const auto& [index, line] : log.lines(up_to)) {
      const Decision d = decision_of(line);
      ++images;
      StageCount& stage = stages[d.stage];
      stage.wrong += d.verdict == "wrong";
      stage.certified += d.verdict == "certified";
      stage.attacked += d.verdict == "attacked";
      natural += d.verdict != "wrong";
      resisting += d.verdict == "certified" || d.verdict == "unknown";
      certified += d.verdict == "certified";
      unknown += d.verdict == "unknown";
    }
  }
  StageCount stage(const std::string& name) const {
    const auto found = stages.find(name);
    return found == stages.end() ? StageCount() : found->second;
  }
  double share(int64_t count) const {
    return images == 0 ? 0 : static_cast<double>(count) / static_cast<double>(images);
  }
};

std::string percent(double share) { return number_text(100 * share, "%.2f %%"); }

void print_text(const CertifyCommand& command, const Classifier& classifier, const Totals& s, double seconds) {
  std::printf("%s\n", format("{} on {} {} images of {}, l-infinity radius {}, {}", command.request.weights, s.images,
                             command.request.split, classifier.images().name, command.epsilon,
                             command.fast ? "bounds in f32" : "certificates hold in real arithmetic")
                          .c_str());
  Table table({"stage", "wrong", "attacked", "certified", "certified so far"});
  int64_t so_far = 0;
  for (const std::string& name : Cascade::stages(command.method)) {
    const StageCount count = s.stage(name);
    const bool refutes = name == "attack" || name == "complete", proves = name != "clean" && name != "attack";
    so_far += count.certified;
    table.add({name, name == "clean" ? std::to_string(count.wrong) : "", refutes ? std::to_string(count.attacked) : "",
               proves ? std::to_string(count.certified) : "", proves ? percent(s.share(so_far)) : ""});
  }
  std::printf("%s", table.text().c_str());
  std::printf("natural accuracy   %8s\nattacked accuracy  %8s\ncertified accuracy %8s   (%lld undecided, %.1f s)\n",
              percent(s.share(s.natural)).c_str(), percent(s.share(s.resisting)).c_str(),
              percent(s.share(s.certified)).c_str(), static_cast<long long>(s.unknown), seconds);
}

void print_json(const CertifyCommand& command, double epsilon, const Classifier& classifier, const Totals& s) {
  ordered_json out = {{"weights", command.request.weights},
                      {"data", classifier.images().name},
                      {"split", command.request.split},
                      {"images", s.images},
                      {"epsilon", epsilon},
                      {"method", command.method},
                      {"sound", !command.fast},
                      {"natural", s.share(s.natural)},
                      {"attacked", s.share(s.resisting)},
                      {"certified", s.share(s.certified)},
                      {"undecided", s.unknown},
                      {"stages", ordered_json::array()}};
  for (const std::string& name : Cascade::stages(command.method)) {
    const StageCount count = s.stage(name);
    out["stages"].push_back(
        {{"stage", name}, {"wrong", count.wrong}, {"attacked", count.attacked}, {"certified", count.certified}});
  }
  std::printf("%s\n", out.dump().c_str());
}

// Decides the images that are left, a batch at a time; false: interrupted.
bool decide_all(const CertifyCommand& command, const Classifier& classifier, double epsilon, ImageLog& log) {
  StatusLine status;
  const int64_t total = classifier.images().size();
  const Totals before(log, total);
  int64_t certified = before.certified, done = before.images;
  const std::vector<int32_t> left = log.left(total);
  const int64_t wanted = done + static_cast<int64_t>(left.size());
  const auto record = [&](const Decision& decision) {
    log.add(json_of(decision));
    certified += decision.verdict == "certified";
    ++done;
  };
  const auto working_on = [&](const std::string& stage) {
    if (status.due()) status.update(format("{} of {} images, {} certified, now {}", done, wanted, certified, stage));
  };
  Cascade cascade(classifier,
                  {.epsilon = epsilon,
                   .method = command.method,
                   .sound = !command.fast,
                   .alpha_steps = command.alpha_steps,
                   .attack_steps = command.attack_steps,
                   .attack_restarts = command.attack_restarts,
                   .seed = command.seed,
                   .timeout = command.timeout_per_image},
                  record, working_on);
  try {
    const auto count = static_cast<int64_t>(left.size());
    for (int64_t first = 0; first < count; first += command.batch)
      cascade.decide({left.begin() + first, left.begin() + std::min(first + command.batch, count)});
  } catch (const Interrupted&) { return false; }
  return true;
}

int certify_by_bounds(const CertifyCommand& command, const Classifier& classifier, ImageLog& log) {
  const double epsilon = radius_of("mollify certify: --eps", command.epsilon);
  const auto start = Clock::now();
  const int64_t images = classifier.images().size();
  const bool complete = decide_all(command, classifier, epsilon, log);
  const Totals totals(log, images);
  if (command.json)
    print_json(command, epsilon, classifier, totals);
  else
    print_text(command, classifier, totals, seconds_since(start));
  const int64_t left = complete ? 0 : static_cast<int64_t>(log.left(images).size());
  return log.status_after({totals.images, totals.images + left});
}

}  // namespace

int certify_command(const CertifyCommand& command) {
  const bool by_votes = command.method == "smoothing", by_average = command.method == "average";
  const bool by_noise = by_votes || by_average;
  require<UsageError>(!by_noise || command.epsilon.empty(),
                      "mollify certify: --eps: {} given; --method {} has l2 radii, and smoothing asks for one by "
                      "--radius",
                      command.epsilon, command.method);
  require<UsageError>(by_noise || !command.votes.noise,
                      "mollify certify: --noise: given; it goes with --method smoothing or average");
  require<UsageError>(by_votes || command.votes.radius == 0,
                      "mollify certify: --radius: given; it goes with --method smoothing");
  if (by_votes)
    check(command.votes);
  else if (by_average)
    require_noise(command.votes, command.method);
  else
    radius_of("mollify certify: --eps", command.epsilon);
  if (!by_noise) require_one_process(format("mollify certify: --method: {}", command.method));
  use_threads(command.threads);
  catch_interrupts();
  const Classifier classifier("certify", command.request,
                              by_noise ? use_device("certify", command.device)
                                       : use_device_for_bounds("certify", command.device, command.fast));
  CertifyCommand copy = command;
  ImageLog log(
      "certify", command.log, options_of(copy), command.request.weights,
      by_votes     ? check_voted
      : by_average ? check_averaged
                   : [](const ordered_json& line) { decision_of(line); });
  if (by_average) return certify_by_average(command, classifier, log);
  return by_votes ? certify_by_votes(command, classifier, log) : certify_by_bounds(command, classifier, log);
}

Options options_of(CertifyCommand& c) {
  Options all;
  add(all, classifier_options(c.request));
  add(all,
      {{{"eps", "Certificate",
         "radius of the l-infinity ball, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation, and "
         "stay there",
         "", false, false, "X"},
        &c.epsilon,
        {}},
       {{"method", "Certificate",
         "last stage of: ibp, crown-ibp, crown or alpha-crown, (attack), complete: branch and bound; or smoothing: "
         "votes under Gaussian noise; or average: one pass of a network that is taken for an average over the noise",
         nullptr},
        &c.method,
        one_of({"ibp", "crown-ibp", "crown", "alpha-crown", "complete", "smoothing", "average"})},
       {{"timeout-per-image", "Certificate", "seconds of branch and bound; images that need more are not certified",
         nullptr},
        &c.timeout_per_image,
        above(0)},
       {{"alpha-steps", "Certificate", "steps of alpha-crown", nullptr}, &c.alpha_steps, at_least(1)},
       {{"fast", "Certificate", "bounds in f32 that let rounding errors be; else certificates hold in real arithmetic",
         nullptr},
        &c.fast,
        {}},
       {{"attack-steps", "Attack", "steps of PGD", nullptr}, &c.attack_steps, at_least(1)},
       {{"attack-restarts", "Attack", "runs of PGD, from random starts", nullptr}, &c.attack_restarts, at_least(1)},
       {{"seed", "Attack", "seed of the starts, and of votes' noise", nullptr}, &c.seed, at_least(0)}});
  add(all, vote_options(c.votes));
  add(all, image_log_options(c.log));
  add(all, {{{"batch", "Run", "images, or noisy ones, that are computed together; results do not depend on it", nullptr,
              true},
             &c.batch,
             at_least(1)}});
  add(all, device_options(c.device, "Run"));
  add(all, {threads_option(c.threads, "Run",
                           "threads; results do not depend on them, but for what branch and bound does in its time"),
            {{"json", "Run", "print one JSON object", nullptr, true}, &c.json, {}}});
  return all;
}

}  // namespace mollify::experiments
