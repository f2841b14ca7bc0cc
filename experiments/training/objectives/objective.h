// What a training run minimises. An objective is a class in a file of its own, with its options, their rules and what
// follows from them, and a line in objectives.cc.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/experiments/options.h>
#include <mollify/experiments/training/timetable.h>
#include <mollify/nn/bounds/bounds.h>
#include <mollify/nn/network.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>

namespace mollify::experiments {

struct RunOptions;

// Mean over a batch, of outputs [B, classes] and labels i32 [B].
using LossFunction = Tensor (*)(const Tensor& outputs, const Tensor& labels);

// Outputs of images, whose numbers in the dataset are i32 [N], on the device.
using OutputsOf = std::function<Tensor(const Tensor& images, const Tensor& numbers)>;

// What an objective trains with.
struct Setting {
  const nn::Network& network;
  const datasets::Preparation& preparation;  // of the images, without noise and augmentation
  const Timetable& timetable;
  LossFunction loss;
  Device device;
  uint64_t seed;
};

class Objective {
 public:
  virtual ~Objective() = default;
  virtual const char* name() const = 0;

  // Its own options, whose fields it holds. Names may be shared with other objectives, with the same description.
  virtual Options options() { return {}; }
  // Fills in what was not given, of its own options and of the run's, and checks both; throws UsageError.
  virtual void resolve(RunOptions& run);
  // Throws UsageError where the run's epochs are too few for it; asked again when a run goes on with others.
  virtual void require_epochs(const RunOptions& /*run*/) const {}
  virtual std::string tag() const { return ""; }  // names the run's folder; empty: the optimizer does
  // What is trained for, beyond the natural loss: a line for the user, or nothing.
  virtual std::string about() const { return ""; }

  // Before the first step. Throws UsageError where the network cannot be trained so. The setting's parts must outlive
  // this.
  virtual void prepare(const Setting& setting) { setting_.emplace(setting); }

  // A step is advance, inputs and the call. The call computes on tensors alone and can be captured, once for each
  // phase. advance goes to a step, counted from 0: what follows is of that step.
  virtual void advance(int64_t /*step*/) {}
  virtual int64_t phase() const { return 0; }  // of steps whose calls consist of the same operations
  virtual bool can_be_captured() const { return true; }
  virtual bool is_traceable() const { return false; }    // its call reads its weights by recorded operations only
  virtual const char* uncaptured() const { return ""; }  // what of steps runs as it is, for the user

  // What the call takes: images, labels, the images' numbers in the dataset, i32 [B], and more. Attacks read values on
  // the host: they belong here.
  struct Sample {
    Tensor images, labels, indices;
  };
  virtual Tensors inputs(const Tensor& weights, const Tensor& state, const Sample& sample) const;

  // What the loss is differentiated from; outputs, state and terms are without history. `number` is the step's, i32 and
  // 0-d. Terms are means over the images, 0-d, of what terms() names.
  struct Result {
    Tensor loss, outputs, state;
    Tensors terms = {};
  };
  virtual Result operator()(const Tensor& weights, const Tensor& state, const Tensors& inputs,
                            const Tensor& number) const = 0;

  // Parts of the loss that are logged by themselves, before their weights.
  virtual std::vector<std::string> terms() const { return {}; }

  // Runs one after the other, each of which starts from what the last one made; 1: this run alone. Options of a run,
  // by their names, whose predecessor wrote `weights`, empty for the first.
  virtual int64_t rounds() const { return 1; }
  virtual std::map<std::string, std::string> round_options(const std::string& /*weights*/) const { return {}; }

  // Where training begins, if not at the run's initial weights.
  struct Start {
    Tensor weights, state;
  };
  virtual std::optional<Start> start() const { return std::nullopt; }

  // Of objectives that train another network than the plain one: what it answers in an epoch, counted from 0, evaluated
  // beside the plain one; else empty. And what files of weights say of it.
  virtual OutputsOf smoothed_outputs(const Tensor& /*weights*/, const Tensor& /*state*/, int64_t /*epoch*/) const {
    return {};
  }
  virtual std::map<std::string, std::string> metadata(int64_t /*epoch*/) const { return {}; }

  // Of objectives that train for noise: prepared images, whose numbers are i32 [N], under one draw of it each, as the
  // test images are evaluated beside the plain ones; and the noise's standard deviation, of pixels from 0 to 1.
  virtual std::optional<double> noise() const { return std::nullopt; }
  virtual Tensor under_noise(const Tensor& images, const Tensor& /*numbers*/) const { return images; }

  // Of objectives with a ball around every image: its radius in a step, and how the test images are certified.
  virtual std::optional<double> radius(int64_t /*step*/) const { return std::nullopt; }
  virtual nn::bounds::Method certifying() const { return nn::bounds::Method::ibp; }

 protected:
  const Setting& setting() const { return *setting_; }

 private:
  std::optional<Setting> setting_;
};

std::unique_ptr<Objective> make_objective(const std::string& name);  // of objective_names
std::vector<std::string> objective_names();

// The objectives, one file each.
std::unique_ptr<Objective> natural_objective();
std::unique_ptr<Objective> pgd_objective();
std::unique_ptr<Objective> relaxation_objective(const std::string& name);  // ibp, hbox, deepz, deeppoly, alpha-crown
std::unique_ptr<Objective> crown_ibp_objective();
std::unique_ptr<Objective> sabr_objective();
std::unique_ptr<Objective> mtl_ibp_objective();
std::unique_ptr<Objective> gaussian_objective();
std::unique_ptr<Objective> smoothadv_objective();
std::unique_ptr<Objective> consistency_objective();
std::unique_ptr<Objective> macer_objective();
std::unique_ptr<Objective> smoothmix_objective();
std::unique_ptr<Objective> heat_objective();

}  // namespace mollify::experiments
