// What a training run is asked to do. Every option is described once, in each_option: the command line, config.json,
// checkpoints and the check of a resumed run all read that list.
#pragma once

#include <mollify/engine/error.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace mollify::experiments {

// A command line that cannot be obeyed; the text is the whole line that the user sees, such as "mollify train:
// --epochs: …".
struct UsageError : ValueError { using ValueError::ValueError; };

// Where a command computes; see use_device.
struct DeviceRequest { std::string device = "cpu", precision = "fp32"; };

struct TrainOptions {
  std::string data = "digits", data_dir, model = "cnn", loss = "cross_entropy";
  // Set by resolve() where not given, as the objective wants: what is empty, 0 epochs and batches.
  std::string initialization, optimizer, schedule, milestones;
  std::optional<double> learning_rate, momentum, weight_decay, clip_norm, step_factor;
  bool nesterov = false;
  int64_t warmup = 0, step_every = 10;
  std::string objective = "natural";
  double epsilon = 0, kappa = 0, mix = 1, sabr_lambda = 0.4, mtl_alpha = 0.5, l1 = 0;
  std::optional<double> epsilon_test, kappa_start, regularizer;  // set by resolve()
  int64_t epsilon_start = 0, epsilon_epochs = 0, attack_steps = 8, alpha_steps = 3, certify_limit = 0;
  bool fusion = false;
  double sigma = 0, sigma_decay = 1, penalty = 1e-6;
  std::string penalty_form = "joint";
  int64_t epochs = 0, batch = 0, steps = 0, seed = 0;
  double checkpoint_minutes = 2;
  int64_t limit = 0, validation = 0, patience = 0;
  double input_noise = 0, label_noise = 0;
  std::string augment = "auto";
  DeviceRequest device;
  bool capture = true;
  int64_t threads = 0;
  std::string out;
};

// What `mollify train` was given: the options, and the names of those that stood on the command line.
struct TrainCommand {
  TrainOptions options;
  std::set<std::string> given;
  bool resume = false, overwrite = false;
};

// Values that an option takes: numbers from low to high, or one of the choices.
struct Rule {
  double low = -std::numeric_limits<double>::infinity(), high = std::numeric_limits<double>::infinity();
  bool above_low = false, below_high = false;  // the end itself is not taken
  std::vector<std::string> choices = {};
};
inline Rule at_least(double low) { return {.low = low}; }
inline Rule above(double low) { return {.low = low, .above_low = true}; }
inline Rule thread_rule() { return {.low = 1, .high = 1024}; }
inline Rule share() { return {.low = 0, .high = 1}; }
inline Rule one_of(std::vector<std::string> choices) { return {.choices = std::move(choices)}; }

// A number as options take it: a decimal, or a quotient such as 8/255; nothing where the text is neither, or is not
// finite.
std::optional<double> number_of(const std::string& text);

// Empty where `text` follows the rule, else "<text> given; needs …".
enum class Kind { text, whole, number };
std::string fault(const Rule& rule, Kind kind, const std::string& text);

// Names of datasets::load, nn::initialization_named, and of --objective.
std::vector<std::string> data_names();
std::vector<std::string> initialization_names();
std::vector<std::string> objective_names();
bool certified(const std::string& objective);  // those that train through bounds

struct Description {
  const char *name, *group, *help, *default_text;  // default_text null: the field's own value
  bool free = false;                               // may differ when a run is resumed
  bool positional = false;                         // an argument without a name in front of it
  const char* value = nullptr;                     // what stands for the value in the help; null: by its kind
};

template <class Visit>
void device_option(DeviceRequest& r, const char* group, const Visit& visit) {
  visit(Description{"device", group, "device", nullptr, true}, r.device, one_of({"cpu", "cuda"}));
}
template <class Visit>
void each_device_option(DeviceRequest& r, const char* group, const Visit& visit) {
  device_option(r, group, visit);
  visit(Description{"precision", group,
                    "f32 products on a GPU: exact, or faster with operands rounded to 10 or 7 bits of fraction",
                    nullptr, true},
        r.precision, one_of({"fp32", "tf32", "bf16"}));
}

// Calls visit(description, field, rule) for every option; fields are strings, int64_t, double, bool and
// optional<double>.
template <class Visit>
void each_option(TrainOptions& o, const std::vector<std::string>& models, const Visit& visit) {
  visit(Description{"data", "Data", "dataset", nullptr}, o.data, one_of(data_names()));
  visit(Description{"data-dir", "Data", "folder above the dataset's", "$MOLLIFY_DATA, then ./data", true}, o.data_dir,
        Rule{});
  visit(Description{"limit", "Data", "use only the first N training images", "all"}, o.limit, at_least(1));
  visit(Description{"validation", "Data", "hold N training images out, chosen by the seed", "none"}, o.validation,
        at_least(1));
  visit(Description{"input-noise", "Data",
                    "standard deviation of Gaussian noise fixed to the training images, whose pixels are 0 to 1",
                    nullptr},
        o.input_noise, at_least(0));
  visit(Description{"label-noise", "Data", "share of training labels replaced by others, each as likely", nullptr},
        o.label_noise, share());
  visit(
      Description{"augment", "Data", "random crops (padding 4) and flips of training images; auto: for CIFAR", nullptr},
      o.augment, one_of({"auto", "on", "off"}));

  visit(Description{"model", "Network", "network", nullptr}, o.model, one_of(models));
  visit(Description{"init", "Network", "initial weights", "fan_in_uniform; ibp for certified objectives"},
        o.initialization, one_of(initialization_names()));
  visit(Description{"loss", "Network", "loss", nullptr}, o.loss, one_of({"cross_entropy", "squared_error"}));

  visit(Description{"optimizer", "Optimizer", "method", "sgd; adam for certified objectives"}, o.optimizer,
        one_of({"sgd", "adam", "adamw"}));
  visit(Description{"lr", "Optimizer", "learning rate",
                    "0.1 for sgd, 0.001 for adam and adamw, 0.002 for certified objectives"},
        o.learning_rate, above(0));
  visit(Description{"momentum", "Optimizer", "momentum, for sgd", "0.9"}, o.momentum,
        Rule{.low = 0, .high = 1, .below_high = true});
  visit(Description{"nesterov", "Optimizer", "Nesterov's momentum, for sgd", nullptr}, o.nesterov, Rule{});
  visit(Description{"weight-decay", "Optimizer", "weight decay", "0.0005 for sgd, 0.01 for adamw, 0 for adam"},
        o.weight_decay, at_least(0));
  visit(Description{"clip-norm", "Optimizer", "scale longer gradients down to this norm; 0: never",
                    "0; 10 for certified objectives"},
        o.clip_norm, at_least(0));
  visit(
      Description{
          "schedule", "Optimizer",
          "learning rate's course: constant, falling in steps or at milestones, half a cosine to 0 at the last step",
          "cosine; milestones for certified objectives"},
      o.schedule, one_of({"constant", "step", "milestones", "cosine"}));
  visit(Description{"warmup", "Optimizer", "steps of linear warm-up before the schedule", nullptr}, o.warmup,
        at_least(0));
  visit(Description{"step-every", "Optimizer", "epochs between the falls of --schedule step", nullptr}, o.step_every,
        at_least(1));
  visit(Description{"milestones", "Optimizer", "epochs after which --schedule milestones falls, such as 50,60",
                    "5/7 and 6/7 of the epochs", false, false, "N,N"}, o.milestones,
        Rule{});
  visit(Description{"step-factor", "Optimizer", "factor of each fall", "0.1; 0.2 for milestones"}, o.step_factor,
        above(0));

  visit(Description{"objective", "Objective",
                    "what is minimised: the natural loss; that of images attacked by PGD; an upper bound of the loss "
                    "over the ball "
                    "around each image, by a relaxation (certified: ibp to alpha-crown); IBP in a small box around an "
                    "attacked image (sabr); IBP and PGD "
                    "mixed (mtl-ibp)",
                    nullptr},
        o.objective, one_of(objective_names()));
  visit(Description{"eps", "Objective",
                    "radius of the l-infinity ball, such as 0.1 or 8/255; pixels are 0 to 1, before normalisation",
                    "needed by every objective but natural"},
        o.epsilon, share());
  visit(Description{"eps-test", "Objective",
                    "radius at which the test images are certified after each epoch; with 0, they are not", "as --eps"},
        o.epsilon_test, share());
  visit(Description{"eps-start", "Objective", "natural epochs before the radius grows from 0", nullptr},
        o.epsilon_start, at_least(0));
  visit(Description{"eps-epochs", "Objective", "epochs over which it grows, smoothly and by step",
                    "two fifths of the epochs"},
        o.epsilon_epochs, at_least(1));
  visit(Description{"kappa", "Objective", "share of the natural loss once the radius is grown", nullptr}, o.kappa,
        share());
  visit(Description{"kappa-start", "Objective", "its share at radius 0; in between it moves with the radius",
                    "as --kappa"},
        o.kappa_start, share());
  visit(
      Description{
          "mix", "Objective",
          "CROWN's share of crown-ibp's margins once the radius is grown, from 1 at radius 0; the rest is IBP's",
          nullptr},
      o.mix, share());
  visit(
      Description{
          "fusion", "Objective",
          "loss fusion for crown-ibp, deepz and deeppoly: one row walks back in place of one for each wrong class",
          nullptr},
      o.fusion, Rule{});
  visit(Description{"sabr-lambda", "Objective",
                    "radius of sabr's small boxes, as a share of --eps (its authors: 0.4 for MNIST at 0.1, 0.1 for "
                    "CIFAR-10 at 2/255)",
                    nullptr},
        o.sabr_lambda, Rule{.low = 0, .high = 1, .above_low = true});
  visit(Description{"mtl-alpha", "Objective", "IBP's share of mtl-ibp's loss", nullptr}, o.mtl_alpha, share());
  visit(Description{"attack-steps", "Objective",
                    "gradient steps of PGD, from a random start, for pgd, sabr and mtl-ibp", nullptr},
        o.attack_steps, at_least(1));
  visit(Description{"alpha-steps", "Objective", "steps that find alpha, for alpha-crown", nullptr}, o.alpha_steps,
        at_least(1));
  visit(Description{"regularizer", "Objective",
                    "weight of the regulariser of Shi et al. 2021, which falls to 0 as the radius grows",
                    "0.5 where boxes are IBP's or hbox's, else 0"},
        o.regularizer, at_least(0));
  visit(Description{"l1", "Objective", "weight of the sum of all |weights|, biases left out", nullptr}, o.l1,
        at_least(0));
  visit(
      Description{"certify-limit", "Objective",
                  "certify only the first N test images; by IBP for natural, pgd, ibp, hbox, sabr and mtl-ibp, "
                  "by CROWN with IBP's boxes for crown-ibp, by CROWN for deeppoly and alpha-crown, by DeepZ for deepz",
                  "all with IBP's boxes, else 1000", true},
      o.certify_limit, at_least(1));

  visit(Description{"sigma", "Smoothing",
                    "train the network smoothed in closed form with noise of deviation sigma/sqrt(2); needs --loss "
                    "squared_error. "
                    "Evaluated are both networks",
                    nullptr},
        o.sigma, at_least(0));
  visit(Description{"sigma-decay", "Smoothing", "factor on sigma after each epoch", nullptr}, o.sigma_decay,
        Rule{.low = 0, .high = 1, .above_low = true});
  visit(Description{"penalty", "Smoothing", "weight of every layer's penalty on variances", nullptr}, o.penalty,
        at_least(0));
  visit(Description{"penalty-form", "Smoothing",
                    "an activation is one term with the layer after it, or a term of its own", nullptr},
        o.penalty_form, one_of({"joint", "split"}));

  visit(Description{"epochs", "Run", "passes over the training images", "3; 20 for certified objectives", true},
        o.epochs, at_least(1));
  visit(Description{"batch", "Run", "images in a batch", "64"}, o.batch, at_least(1));
  visit(Description{"steps", "Run", "stop after step N, within an epoch if need be; --resume goes on", "none", true},
        o.steps, at_least(1));
  visit(Description{"checkpoint-minutes", "Run",
                    "minutes between checkpoints within an epoch; each epoch ends with one", nullptr, true},
        o.checkpoint_minutes, at_least(0));
  visit(Description{"patience", "Run", "stop after N epochs without a lower validation loss; needs --validation",
                    "never", true},
        o.patience, at_least(1));
  visit(Description{"seed", "Run", "seed of weights, order, noise, augmentation and validation", nullptr}, o.seed,
        at_least(0));
  each_device_option(o.device, "Run", visit);
  visit(Description{"capture", "Run", "record the step once and replay it; the results are the same", nullptr, true},
        o.capture, Rule{});
  visit(Description{"threads", "Run", "threads; results do not depend on them", "$MOLLIFY_NUM_THREADS, else all", true},
        o.threads, thread_rule());
  visit(Description{"out", "Run", "folder of the run", "runs/<data>-<model>-<optimizer>-s<seed>", true}, o.out, Rule{});
}

// Epochs at whose end --schedule milestones falls; throws UsageError.
std::vector<int64_t> milestones(const TrainOptions& options);

// Fills in what depends on other options and checks options against each other; throws UsageError.
void resolve(TrainOptions& options);

std::string to_json(const TrainOptions& options);
TrainOptions options_from_json(const std::string& file, const std::string& text);  // throws FormatError naming the file

// Options of a run that goes on: the stored ones, with what may change taken from the command.
// Throws UsageError where the command contradicts the run.
TrainOptions resumed(const TrainOptions& stored, const TrainCommand& command);

}  // namespace mollify::experiments
