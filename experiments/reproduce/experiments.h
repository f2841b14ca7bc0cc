// The experiments there are.
#pragma once

#include <memory>

namespace mollify::experiments {

class Experiment;

std::shared_ptr<Experiment> black_box();         // PGPE and ClipUp (Toklu et al. 2020): evaluations on test functions
std::shared_ptr<Experiment> functions();         // Sato & Iiduka: test functions under seven noises
std::shared_ptr<Experiment> gsmooth_heat_map();  // Starnes & Webster 2023: accuracy under noise, by optimizer and σ
std::shared_ptr<Experiment>
gsmooth_svrg();  // the same: deviation of the update's norm with and without variance reduction
std::shared_ptr<Experiment>
paradox();  // Jovanović et al. 2022: networks trained through looser and tighter relaxations
std::shared_ptr<Experiment> sparse_szo();  // Ohta et al. 2020: training from loss values, of fewer and fewer weights
std::shared_ptr<Experiment> heat();        // Campbell et al. 2020: networks that are averages of others over noise
std::shared_ptr<Experiment> noise_tails();  // Sato & Iiduka: tails of minibatch gradients' noise
std::shared_ptr<Experiment> gls();         // Balauca et al. 2025: certified training through a smoothed loss
std::shared_ptr<Experiment> graduated();   // Sato & Iiduka 2023: courses of the smoothing that SGD's noise does
std::shared_ptr<Experiment> sharpness_grid();  // the same: sharpness and accuracy over that smoothing

}  // namespace mollify::experiments
