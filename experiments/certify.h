// `mollify certify`: how many images of a test set no perturbation of a radius can make wrong.
#pragma once

#include <mollify/experiments/classifier.h>

namespace mollify::experiments {

struct CertifyCommand {
  ClassifierRequest request;
  std::string epsilon, method = "complete", out;
  bool fast = false, json = false;
  int64_t alpha_steps = 20, attack_steps = 40, attack_restarts = 5, seed = 0, batch = 250, threads = 0;
  double timeout_per_image = 10;
  DeviceRequest device;
};
int certify_command(const CertifyCommand& command);

template <class Visit>
void each_option(CertifyCommand& c, const Visit& visit) {
  each_classifier_option(c.request, visit);
  visit(Description{"eps", "Certificate",
                    "radius of the l-infinity ball, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation, and "
                    "stay there",
                    "", false, false, "X"},
        c.epsilon, Rule{});
  visit(
      Description{"method", "Certificate",
                  "last stage of: ibp, crown-ibp, crown or alpha-crown, (attack), complete: branch and bound", nullptr},
      c.method, one_of({"ibp", "crown-ibp", "crown", "alpha-crown", "complete"}));
  visit(Description{"timeout-per-image", "Certificate",
                    "seconds of branch and bound; images that need more are not certified", nullptr},
        c.timeout_per_image, above(0));
  visit(Description{"alpha-steps", "Certificate", "steps of alpha-crown", nullptr}, c.alpha_steps, at_least(1));
  visit(Description{"fast", "Certificate",
                    "bounds in f32 that let rounding errors be; else certificates hold in real arithmetic", nullptr},
        c.fast, Rule{});
  visit(Description{"attack-steps", "Attack", "steps of PGD", nullptr}, c.attack_steps, at_least(1));
  visit(Description{"attack-restarts", "Attack", "runs of PGD, from random starts", nullptr}, c.attack_restarts,
        at_least(1));
  visit(Description{"seed", "Attack", "seed of the starts", nullptr}, c.seed, at_least(0));
  visit(
      Description{
          "out", "Run",
          "folder that keeps what is decided (certify.jsonl, a line an image); the same command goes on where it ended",
          "none", true},
      c.out, Rule{});
  visit(Description{"batch", "Run", "images that go through the stages together; results do not depend on it", nullptr,
                    true},
        c.batch, at_least(1));
  each_device_option(c.device, "Run", visit);
  visit(Description{"threads", "Run",
                    "threads; results do not depend on them, but for what branch and bound does in its time",
                    "$MOLLIFY_NUM_THREADS, else all", true},
        c.threads, thread_rule());
  visit(Description{"json", "Run", "print one JSON object", nullptr, true}, c.json, Rule{});
}

}  // namespace mollify::experiments
