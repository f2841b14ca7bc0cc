// The processes of one run under mpirun, which do the same steps and divide the pairs of perturbed weights. The first
// one writes and prints.
#pragma once

#include <mollify/smoothing/loss/exchange.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mollify::experiments {

class Processes {
 public:
  // Joins the others where mpirun started this one; else, and in a build without MPI, it is alone.
  static Processes& all();

  int64_t rank() const { return rank_; }
  int64_t count() const { return count_; }
  bool is_first() const { return rank_ == 0; }
  const std::shared_ptr<const smoothing::Exchange>& exchange() const { return exchange_; }  // empty: alone

  // For all of them to call. Throws Error, which begins with `what`, unless all have the same bytes.
  void require_same(const std::string& what, const std::string& bytes) const;
  bool any(bool here) const;  // whether it holds in one of them
  std::vector<std::string> gather(const std::string& bytes) const;  // what each of them has, by rank
  // Work of the first one alone, such as opening a folder; what it throws there ends all of them.
  void first_does(const std::function<void()>& work) const;
  void wait() const;          // until all have come here

  // At the end: `together` where all of them come to it, else the others are stopped, too.
  void leave(bool together);

 private:
  Processes();
  int64_t rank_ = 0, count_ = 1;
  std::shared_ptr<const smoothing::Exchange> exchange_;
};

}  // namespace mollify::experiments
