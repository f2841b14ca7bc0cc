// `mollify eval --noise`: PREDICT of Cohen, Rosenfeld & Kolter (2019), image by image.
#pragma once

#include <mollify/experiments/evaluate.h>

namespace mollify::experiments {

// Of a command with noise. Keeps what it finds in --out, with predict.tsv in the columns of Cohen's logs and four more.
// The exit status. Processes under mpirun share the images out.
int predict_by_votes(const EvaluateCommand& command);

}  // namespace mollify::experiments
