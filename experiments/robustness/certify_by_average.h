// `mollify certify --method average`: radii of a network that is taken for an exact average over Gaussian noise, in one
// pass an image (Campbell, Finlay & Oberman 2020, theorem 2). Of a network that was only trained to be one they are
// estimates, and are called so.
#pragma once

#include <mollify/experiments/robustness/certify.h>
#include <mollify/experiments/robustness/image_log.h>

namespace mollify::experiments {

// Of the outputs for one image: the label's probability, and the k-th largest of the others'. The label is among the k
// largest while it has more.
struct LabelAndRival {
  double label, rival;
};
LabelAndRival label_and_rival(const Tensor& outputs, int32_t label, int64_t k);

void check_averaged(const nlohmann::ordered_json& line);  // throws JSON's exceptions for what is no line of this

// Writes certify.tsv, in the columns of Cohen's logs and one more, beside the log. The exit status.
int certify_by_average(const CertifyCommand& command, const Classifier& classifier, ImageLog& log);

}  // namespace mollify::experiments
