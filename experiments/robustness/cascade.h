// Images certified by one method after another, each on what the ones before it left open.
#pragma once

#include <mollify/experiments/robustness/classifier.h>
#include <mollify/nn/bounds/graph.h>

#include <functional>
#include <string>
#include <vector>

namespace mollify::experiments {

struct CascadeOptions {
  double epsilon = 0;
  std::string method = "complete";  // the last stage
  bool sound = true;                // f64 with rounding errors charged; else bounds in f32, but for the complete stage
  int64_t alpha_steps = 20, attack_steps = 40, attack_restarts = 5, seed = 0;
  double timeout = 10;              // seconds for an image in the complete stage
};

struct Decision {
  int64_t index;             // of the image in its dataset
  int32_t label, predicted;
  std::string stage;  // that decided: clean, ibp, crown-ibp, crown, alpha-crown, attack, complete; none of unknown
  // wrong: on the clean image. attacked: an image of the ball is wrong, or its outputs tie. certified: none is.
  // unknown: neither was shown.
  std::string verdict;
  // Label's output less the largest other: on the clean image if wrong, at the attacked one, else its best lower bound.
  double margin;
};

class Cascade {
 public:
  using Record = std::function<void(const Decision&)>;
  // `classifier` must outlive this. `record` gets every decision once it is made, and `working_on` each stage's name
  // now and then.
  Cascade(const Classifier& classifier, const CascadeOptions& options, Record record,
          std::function<void(const std::string&)> working_on);

  static std::vector<std::string> stages(const std::string& method);  // in their order

  void decide(
      const std::vector<int32_t>& indices);  // throws Interrupted between images, with those that are left not recorded

 private:
  struct Open {
    int32_t index, label, predicted;
    double margin;  // best lower bound so far; −∞ before the first
  };
  std::vector<Open> clean(const std::vector<int32_t>& indices);
  std::vector<Open> bounded(const std::vector<Open>& open, const std::string& method);
  std::vector<Open> attacked(const std::vector<Open>& open);
  std::vector<Open> completed(const std::vector<Open>& open);
  void passed_over(const std::string& error) const;
  std::vector<double> margins(const std::vector<Open>& part, const std::string& method) const;
  Classifier::Batch batch_of(const std::vector<Open>& open) const;
  void decided(const Open& image, const char* verdict, const std::string& stage, double margin) const;

  const Classifier& classifier_;
  const CascadeOptions options_;
  const Record record_;
  const std::function<void(const std::string&)> working_on_;
  const std::function<Tensor(const Tensor&)> function_;  // f32
  const nn::bounds::Graph graph_, exact_graph_;          // of the bounds, and f64
};

}  // namespace mollify::experiments
