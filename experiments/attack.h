// `mollify attack`: how many images a gradient attack leaves classified rightly.
#pragma once

#include <mollify/experiments/classifier.h>

namespace mollify::experiments {

struct AttackCommand {
  ClassifierRequest request;
  std::string epsilon, norm = "linf", objective = "margin", out;
  int64_t steps = 40, restarts = 5, seed = 0, batch = 250, threads = 0;
  double step_size = 0;
  bool json = false;
  DeviceRequest device;
};
int attack_command(const AttackCommand& command);

template <class Visit>
void each_option(AttackCommand& c, const Visit& visit) {
  each_classifier_option(c.request, visit);
  visit(Description{"eps", "Attack", "radius, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation", "", false,
                    false, "X"},
        c.epsilon, Rule{});
  visit(Description{"norm", "Attack", "norm of the ball, within which pixels stay 0 to 1", nullptr}, c.norm,
        one_of({"linf", "l2"}));
  visit(Description{"objective", "Attack",
                    "what the steps climb; targeted-margins tries every wrong class and is the strongest and dearest",
                    nullptr},
        c.objective, one_of({"cross-entropy", "margin", "targeted-margins"}));
  visit(Description{"steps", "Attack", "steps of a run", nullptr}, c.steps, at_least(1));
  visit(Description{"restarts", "Attack", "runs, from random starts; with targeted-margins, for each class", nullptr},
        c.restarts, at_least(1));
  visit(Description{"step-size", "Attack", "length of every step", "from eps down to eps/steps"}, c.step_size,
        above(0));
  visit(Description{"seed", "Attack", "seed of the starts", nullptr}, c.seed, at_least(0));
  visit(Description{"out", "Run",
                    "file (.npy) for the attacked images, f32 [N, H, W, C] with pixels 0 to 1; an image without "
                    "success is its strongest try, "
                    "and one that is wrong anyhow is itself",
                    "none"},
        c.out, Rule{});
  visit(Description{"batch", "Run", "images attacked at once", nullptr}, c.batch, at_least(1));
  each_device_option(c.device, "Run", visit);
  visit(Description{"threads", "Run", "threads; results do not depend on them", "$MOLLIFY_NUM_THREADS, else all"},
        c.threads, thread_rule());
  visit(Description{"json", "Run", "print one JSON object", nullptr}, c.json, Rule{});
}

}  // namespace mollify::experiments
