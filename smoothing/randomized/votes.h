// Classes that a classifier gives under Gaussian noise, and what their counts prove: CERTIFY and PREDICT of Cohen,
// Rosenfeld & Kolter (2019). The noise is drawn in floating point, as everyone's is; that it is Gaussian is assumed and
// not proven.
#pragma once

#include <mollify/smoothing/activations.h>
#include <mollify/smoothing/randomized/noise.h>

#include <memory>
#include <vector>

#pragma GCC visibility push(default)
namespace mollify::smoothing {

class CapturedVotes;

// g(x) = the class that f most often gives x + σz. f maps rows [B, …] to [B, classes], each apart from the others, such
// as a network in evaluation mode, with its normalisation; noisy rows are not clipped.
struct NoisyClassifier {
  Function f;
  Noise noise;
  int64_t batch = 256;  // noisy rows that f gets at once; no part in any result
  std::shared_ptr<CapturedVotes> plans = {};  // captured() makes them
};

// The same classifier, whose batches are captured and replayed (engine/plan.h): the same votes, 8 % more a second of
// cnn3_tiny and 13 % of cnn3. For an f that can be captured; one call at a time, copies of the classifier included,
// whose noise stays what it is.
NoisyClassifier captured(const NoisyClassifier& g);

// Images as rows [N, …], and their numbers among the data, i32 [N], from which they draw.
struct NumberedImages {
  Tensor rows, numbers;
};

using Counts = std::vector<int64_t>;  // of each class

// Of every image, how many of the draws first … first + count − 1 give each class; of classes that tie the lowest
// counts. No history is recorded. Throws ValueError for counts and batches below 1, ShapeError and TypeError for what
// does not fit.
std::vector<Counts> votes(const NoisyClassifier& g, const NumberedImages& images, NoiseUse use, int64_t first,
                          int64_t count);

// What a certificate says, of N(0, σ²I) noise around every point within the radius.
// top_class:  the class is the most frequent one, where all others together have what its lower bound leaves.
// top_of_two: the same, with an upper bound on each other class: α/2 for the class, α/2 for all others together.
// in_top:     the label is among the k most frequent classes.
// in_set:     the k classes that the selection saw most have more than half of the votes together (Campbell, Finlay &
//             Oberman 2020). It says nothing of the label itself.
enum class Claim { top_class, top_of_two, in_top, in_set };

struct CertifyOptions {
  Claim claim = Claim::top_class;
  int64_t k = 1;             // of in_top and in_set
  bool clean_class = false;  // what f gives without noise is certified, not what the selection saw most
  int64_t selections = 100;  // draws that choose what is certified
  int64_t trials = 10000;    // other draws, which count
  double alpha = 0.001;      // how often a certificate may be wrong
  double radius = 0;         // above 0: draw no more once it is decided whether this radius is reached
};

struct Certificate {
  int32_t predicted;  // the class, of a set the first one; −1: nothing is proven
  double radius;      // above 0 where predicted ≥ 0, else 0; the options' radius where that was asked for and reached
  int64_t successes;  // votes for the class or the set
  int64_t draws;      // `trials`, or fewer where the radius was decided before
  std::vector<int32_t> subject;  // what it is about, proven or not: a class, a label or a set
};

// Of every image; in_top needs labels, i32 [N]. Throws ValueError for options out of range, and where not even all
// votes would prove anything or the radius: the message has the largest radius that there is.
std::vector<Certificate> certify(const NoisyClassifier& g, const NumberedImages& images, const CertifyOptions& options,
                                 const Tensor& labels = {});

struct Prediction {
  int32_t predicted;      // the most frequent class; −1: the second is too near to tell
  int64_t first, second;  // votes for the most frequent class and for the one after it
};

// PREDICT at level alpha, of `trials` draws of every image. Throws ValueError where no votes could tell.
std::vector<Prediction> predict(const NoisyClassifier& g, const NumberedImages& images, int64_t trials, double alpha);

}  // namespace mollify::smoothing
#pragma GCC visibility pop
