// Names of kernels, for tests that hold what they launch against all kernels of the library (ig_sim_kernel). Rule:
// mangled names in, words out; nothing here knows a kernel.
#ifndef INGOT_TESTS_CUDA_KERNELS_H
#define INGOT_TESTS_CUDA_KERNELS_H

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cxxabi.h>
#include <set>
#include <string>

namespace kernels {

inline std::string demangled(const std::string &name) {
  int status = 0;
  char *text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  std::string all = status == 0 && text ? text : name;
  free(text);
  return all.compare(0, 5, "void ") ? all : all.substr(5);
}

// A kernel's name without element types and widths: variants of a template that differ in these are one source. What
// stays are functions' and structures' names, passes, kinds of products (fp16's is bf16's) and switches.
inline std::string source_of(const std::string &name) {
  static const std::set<std::string> types = {"float", "double", "__half", "__nv_bfloat16", "unsigned", "char",
                                              "short", "int",    "long",   "const",         "void",     "uint4"};
  const std::string text = demangled(name);
  std::string source, word;
  for (size_t i = 0; i <= text.size(); i++) {
    const char c = i < text.size() ? text[i] : ' ';
    if (isalnum((unsigned char)c) || c == '_') {
      word += c;
      continue;
    }
    if (!word.empty() && c == ')' && isdigit((unsigned char)text[std::min(i + 1, text.size() - 1)])) {
      const bool half = word == "ig_gemm_math" && text[i + 1] == '3';
      word += half ? '2' : text[i + 1];  // (ig_conv_pass)1
      i++;
    }
    if (!word.empty() && !types.count(word) && !isdigit((unsigned char)word[0]))
      source += (source.empty() ? "" : " ") + word;
    word.clear();
  }
  return source;
}

// The first element type among a template's arguments: " __half". Empty where there is none.
inline std::string type_of(const std::string &name) {
  const std::string text = demangled(name);
  const size_t from = text.find('<'), to = text.find('(');
  if (from >= to)
    return "";
  const std::string argument = text.substr(from + 1, text.find_first_of(",>", from) - from - 1);
  return argument == "float" || argument == "__half" || argument == "__nv_bfloat16" ? " " + argument : "";
}

}  // namespace kernels

#endif
