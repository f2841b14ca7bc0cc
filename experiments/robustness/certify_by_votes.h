// `mollify certify --method smoothing`: CERTIFY of Cohen, Rosenfeld & Kolter (2019), image by image.
#pragma once

#include <mollify/experiments/robustness/certify.h>

namespace mollify::experiments {

Options vote_options(VoteRequest& request);

// Throws UsageError for what is missing or out of range, before anything is read.
void check(const VoteRequest& request);

void check_voted(const nlohmann::ordered_json& line);  // throws JSON's exceptions for what is no line of this

// Writes certify.tsv, in the columns of Cohen's logs and two more, beside the log. The exit status. Processes under
// mpirun share the images out.
int certify_by_votes(const CertifyCommand& command, const Classifier& classifier, ImageLog& log);

}  // namespace mollify::experiments
