// What `mollify reproduce heat` measures of a network: how near it is to an average over noise, what votes certify, and
// how far attacks have to go.
#pragma once

#include <mollify/datasets/loader.h>
#include <mollify/experiments/reproduce/results.h>
#include <mollify/nn/network.h>
#include <mollify/smoothing/activations.h>

namespace mollify::experiments {

struct HeatMeasuring {
  double noise;    // standard deviation, of pixels from 0 to 1
  int64_t trials;  // votes that count
  int64_t draws;   // of attacks through noise
  int64_t top;     // k: an answer is right where the label is among its k largest outputs, or most frequent classes
  int64_t attack_steps;
  double attack_epsilon;  // l2, of PGD
  bool stochastic;        // what is attacked, and decides, are answers under noise; else one plain pass
};

// Pixels [N, H, W, C] from 0 to 1 to outputs, by a network in evaluation mode.
smoothing::Function pixel_function(const nn::Network& network, const Tensor& weights, const Tensor& state,
                                   const datasets::Preparation& preparation);

// E f(x + σz) over `draws` draws of evaluation noise, without history.
Tensor average_over_noise(const smoothing::Function& f, const Tensor& pixels, double noise, int64_t draws);

// Share of rows [N, classes] whose label is among the k largest outputs, %.
double share_in_top(const Tensor& outputs, const Tensor& labels, int64_t k);

// mean ‖v − average‖² / mean ‖average‖², of outputs.
double relative_distance(const Tensor& v, const Tensor& average);

// Adds to the results, of images as pixels [N, …] with labels: natural and in_top (accuracies of one pass, of the class
// and of the k largest), certified (series: the radius where the answer is right, else −1), l_bound, l_bound_median and
// tighter (of images that are right, by probabilities), ddn and pgd (series: distances of images that are right,
// infinite where they are not broken). Throws Interrupted.
void measure(const smoothing::Function& f, const Tensor& pixels, const Tensor& labels, const HeatMeasuring& how,
             Results& results);

}  // namespace mollify::experiments
