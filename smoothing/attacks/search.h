// What attacks share: the rows still under attack, how the attacked function is asked for losses and gradients, the
// ball and the box, and what is kept of all that was evaluated.
#pragma once

#include <mollify/smoothing/attacks/attack.h>

#include <vector>

namespace mollify::smoothing {

// What of each row is kept: the point with the largest margin, or of those that succeed the nearest to x. Rows leave
// the work as soon as they succeed, if asked; those that succeed at x itself do where the nearest is kept, but not
// under noise.
enum class Keep { worst, worst_until_success, nearest };

bool is_targeted(Objective objective);  // climbs one wrong class after another

// What an attack draws, so that one kind of draws never moves another.
enum class AttackDraw : uint8_t { direction, distance, restart, fallback, windows };

class Search {
 public:
  Search(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, Keep keep);

  int64_t left() const { return numbers_.size(); }
  int64_t dimensions() const { return center_.dim(1); }
  const Shape& image_shape() const { return shape_; }  // of the whole batch
  const Threat& threat() const { return threat_; }

  // Of the rows that are left, flat: [n, d].
  const Tensor& center() const { return center_; }
  const Tensor& low() const { return low_; }  // of ball and box
  const Tensor& high() const { return high_; }
  const Tensor& streams() const { return streams_; }      // numbers among the data
  const Tensor& distances() const { return distances_; }  // f64 [n], of `nearest`; infinite without success

  // Tensors of an attack's own whose rows leave with their row. Each call replaces the last one's list.
  void follow(std::vector<Tensor*> parts) { followers_ = std::move(parts); }

  // The scores are what decides: outputs, or under noise the logarithms of their mean probabilities.
  struct Evaluation {
    Tensor scores, loss, gradient;
  };  // [n, classes]; of `evaluate` also [n] and [n, d]
  Tensor scores(const Tensor& x);
  // rank: of the target, for targeted objectives, after rank_targets.
  Evaluation evaluate(const Tensor& x, Objective objective, int64_t rank = 0);
  Tensor margins(const Tensor& scores) const;  // of the goal, [n]

  // Keeps what is better of x, and lets rows go, out of the followers too.
  void record(const Tensor& x, const Tensor& scores);
  // Records x itself and, for targeted objectives, orders the wrong classes, of which there are at most `targets`, 0:
  // all. Returns their number, 1 for other objectives.
  int64_t start(Objective objective, int64_t targets);

  Tensor project(const Tensor& x) const;                  // into ball and box
  Tensor direction(const Tensor& gradient) const;         // of size 1 in the norm; 0 where the gradient is 0 or NaN
  Tensor random_point(int64_t run) const;                 // uniform in the ball (l2), or in ball and box (linf)
  Tensor normals(AttackDraw kind, int64_t number) const;  // [n, d]

  Adversarial result();

 private:
  Tensor outputs_at(const Tensor& rows);  // of noisy rows, too
  Tensor noisy(const Tensor& x, const Tensor& streams, int64_t first) const;
  Tensor scores_of(const Tensor& outputs) const;
  Tensor objective(Objective objective, const Tensor& outputs, const Tensor& labels, const Tensor& target) const;
  Tensor loss(Objective objective, const Tensor& outputs, int64_t rank) const;
  void release(const Tensor& stays);
  Tensor best_of_all() const;
  Tensor verdict(const Tensor& rows, int64_t number);  // margins
  void confirm();
  int64_t next_draws();

  const Function& f_;
  const Threat& threat_;
  const Keep keep_;
  Shape shape_;
  Tensor all_centers_, all_labels_, all_streams_;
  Tensor numbers_, streams_, labels_;    // [n]: in the batch, among the data
  Tensor center_, low_, high_, radius_;  // radius_ of l2 only
  Tensor targets_;                       // [n, targets], the easiest first
  Tensor best_, margins_, distances_;
  std::vector<Tensor*> followers_;
  std::vector<Tensor> released_numbers_, released_;
  int64_t classes_ = 0, evaluations_ = 0;
};

// Throws where an option or threat is of no use.
void check_attack(const Function& f, const Tensor& x, const Tensor& labels, const Threat& threat, bool needs_ball);

}  // namespace mollify::smoothing
