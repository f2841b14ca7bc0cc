// JSON, whose members are compiled once, in json.cc: in each file that reads or writes it they took half of its time.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace mollify::experiments {

using JsonText = nlohmann::detail::iterator_input_adapter<std::string::const_iterator>;

}  // namespace mollify::experiments

extern template class nlohmann::basic_json<nlohmann::ordered_map>;
extern template class nlohmann::detail::serializer<nlohmann::ordered_json>;
extern template class nlohmann::detail::lexer<nlohmann::ordered_json, mollify::experiments::JsonText>;
extern template class nlohmann::detail::parser<nlohmann::ordered_json, mollify::experiments::JsonText>;
