// einsum by transposes, sums and one matrix product for two operands.
#include <mollify/engine/ops.h>
#include <mollify/engine/ops/rules.h>

#include <algorithm>
#include <map>

namespace mollify {
namespace {

struct Term {
  std::string letters;
  Tensor x;
};

// x with its axes in the order of `letters`, which are its own.
Tensor in_order(const Term& term, const std::string& letters) {
  std::vector<int> order;
  for (const char letter : letters) order.push_back(static_cast<int>(term.letters.find(letter)));
  return permute(term.x, std::span<const int>(order));
}

Shape extents(const std::string& letters, const std::map<char, int64_t>& extent) {
  Shape shape;
  for (const char letter : letters) shape.push_back(extent.at(letter));
  return shape;
}

// Letters that stand twice in one term are its diagonal.
Term without_repeats(Term term) {
  for (size_t i = 0; i < term.letters.size(); ++i) {
    const size_t again = term.letters.find(term.letters[i], i + 1);
    if (again == std::string::npos) continue;
    const int a = static_cast<int>(i), b = static_cast<int>(again);
    Shape shape = term.x.shape();
    for (int axis = 0; axis < shape.rank(); ++axis)
      if (axis != a && axis != b) shape[axis] = 1;
    const Tensor diagonal = reshape(eye(term.x.dim(a), DType::u8, term.x.device()), shape);
    term.x = sum(where(diagonal, term.x, Tensor::scalar(0, term.x.dtype())), {b});
    term.letters.erase(again, 1);
    --i;
  }
  return term;
}

Term summed(Term term, const std::string& kept) {
  for (size_t i = term.letters.size(); i-- > 0;)
    if (kept.find(term.letters[i]) == std::string::npos) {
      term.x = sum(term.x, {static_cast<int>(i)});
      term.letters.erase(i, 1);
    }
  return term;
}

// Letters of both that are kept are the product's batch, those that are not its inner axis.
Term multiplied(const Term& a, const Term& b, const std::string& kept, const std::map<char, int64_t>& extent) {
  std::string batch, inner, left, right;
  for (const char letter : a.letters) {
    const bool both = b.letters.find(letter) != std::string::npos;
    (both ? kept.find(letter) != std::string::npos ? batch : inner : left) += letter;
  }
  for (const char letter : b.letters)
    if (a.letters.find(letter) == std::string::npos) right += letter;
  const int64_t m = extents(left, extent).size(), k = extents(inner, extent).size(), n = extents(right, extent).size(),
                rows = extents(batch, extent).size();
  const Tensor x = reshape(in_order(a, batch + left + inner), Shape{rows, m, k}),
               y = reshape(in_order(b, batch + inner + right), Shape{rows, k, n});
  const std::string letters = batch + left + right;
  return {letters, reshape(matmul(x, y), extents(letters, extent))};
}

struct Plan {
  std::vector<std::string> terms;
  std::string result;
};

Plan plan_of(const std::string& axes) {
  Plan plan{{""}, ""};
  const size_t arrow = axes.find("->");
  for (const char c : axes.substr(0, arrow)) {
    if (c == ' ') continue;
    require<ValueError>(c == ',' || std::isalpha(static_cast<unsigned char>(c)),
                        "einsum: '{}' in '{}'; needs letters and commas, and one -> at most", std::string(1, c), axes);
    if (c == ',')
      plan.terms.emplace_back();
    else
      plan.terms.back() += c;
  }
  std::map<char, int> seen;
  for (const std::string& term : plan.terms)
    for (const char letter : term) ++seen[letter];
  if (arrow == std::string::npos) {
    for (const auto& [letter, count] : seen)
      if (count == 1) plan.result += letter;
    return plan;
  }
  for (const char c : axes.substr(arrow + 2)) {
    if (c == ' ') continue;
    require<ValueError>(seen.count(c) && plan.result.find(c) == std::string::npos,
                        "einsum: '{}' behind the -> of '{}'; needs letters from before it, each once",
                        std::string(1, c), axes);
    plan.result += c;
  }
  return plan;
}

}  // namespace

Tensor einsum(const std::string& axes, std::initializer_list<Tensor> operands) {
  const Plan plan = plan_of(axes);
  require<ValueError>(plan.terms.size() == operands.size(), "einsum: '{}' names {} operands; {} were given", axes,
                      plan.terms.size(), operands.size());
  std::vector<Term> terms;
  std::map<char, int64_t> extent;
  for (size_t i = 0; i < plan.terms.size(); ++i) {
    const Tensor& x = operands.begin()[i];
    const std::string& letters = plan.terms[i];
    require_floating("einsum", x);
    require_same_dtype("einsum", operands.begin()[0], x);
    require(static_cast<int>(letters.size()) == x.rank(), "einsum: '{}' names {} axes of operand {}, which is {}", axes,
            letters.size(), i, x.shape());
    for (size_t a = 0; a < letters.size(); ++a) {
      const auto [known, added] = extent.emplace(letters[a], x.shape()[static_cast<int>(a)]);
      require(known->second == x.shape()[static_cast<int>(a)], "einsum: '{}' is {} and {} in '{}'; needs one extent",
              std::string(1, letters[a]), known->second, x.shape()[static_cast<int>(a)], axes);
    }
    terms.push_back(without_repeats({letters, x}));
  }
  Term all = terms[0];
  for (size_t i = 1; i <= terms.size(); ++i) {
    std::string kept = plan.result;  // and what later operands have
    for (size_t later = i; later < terms.size(); ++later) kept += terms[later].letters;
    all = summed(all, kept);
    if (i == terms.size()) break;
    std::string wanted = plan.result;
    for (size_t later = i + 1; later < terms.size(); ++later) wanted += terms[later].letters;
    all = multiplied(all, summed(terms[i], wanted + all.letters), wanted, extent);
  }
  return in_order(all, plan.result);
}

}  // namespace mollify
