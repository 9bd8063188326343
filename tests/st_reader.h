// A safetensors reader for tests, independent of the library's own. Rule: read-only, throws on anything unexpected;
// it trusts fixtures, so it is no model for reading foreign files.
#ifndef INGOT_TESTS_ST_READER_H
#define INGOT_TESTS_ST_READER_H

#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <jansson.h>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace st {

struct Tensor {
  std::string dtype;  // as in the file: F32, I64, U8, ...
  std::vector<int64_t> shape;
  std::vector<uint8_t> bytes;  // little-endian, C order
  size_t count() const {
    size_t n = 1;
    for (int64_t d : shape)
      n *= (size_t)d;
    return n;
  }
};

class File {
 public:
  explicit File(const std::string &path) : path_(path) {
    std::ifstream in(path, std::ios::binary);
    if (!in)
      throw std::runtime_error(path + ": cannot be opened");
    const std::vector<uint8_t> all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    uint64_t header = 0;
    if (all.size() < 8 || (memcpy(&header, all.data(), 8), header > all.size() - 8))
      throw std::runtime_error(path + ": not a safetensors file");
    json_error_t e;
    json_t *root = json_loadb((const char *)all.data() + 8, header, JSON_REJECT_DUPLICATES, &e);
    if (!root)
      throw std::runtime_error(path + ": header: " + e.text);
    const char *name;
    json_t *row;
    json_object_foreach(root, name, row) {
      if (!strcmp(name, "__metadata__"))
        continue;
      Tensor t;
      t.dtype = json_string_value(json_object_get(row, "dtype"));
      json_t *shape = json_object_get(row, "shape"), *span = json_object_get(row, "data_offsets");
      for (size_t i = 0; i < json_array_size(shape); i++)
        t.shape.push_back(json_integer_value(json_array_get(shape, i)));
      const size_t from = 8 + header + (size_t)json_integer_value(json_array_get(span, 0));
      const size_t to = 8 + header + (size_t)json_integer_value(json_array_get(span, 1));
      if (from > to || to > all.size() || to - from != t.count() * width(t.dtype)) {
        json_decref(root);
        throw std::runtime_error(path + ": tensor '" + std::string(name) + "' has a wrong span");
      }
      t.bytes.assign(all.begin() + (ptrdiff_t)from, all.begin() + (ptrdiff_t)to);
      tensors_[name] = std::move(t);
    }
    json_decref(root);
  }

  bool has(const std::string &name) const { return tensors_.count(name) != 0; }
  const std::map<std::string, Tensor> &tensors() const { return tensors_; }
  const Tensor &at(const std::string &name) const {
    auto it = tensors_.find(name);
    if (it == tensors_.end())
      throw std::runtime_error(path_ + ": no tensor '" + name + "'");
    return it->second;
  }
  const std::vector<int64_t> &shape(const std::string &name) const { return at(name).shape; }
  std::vector<double> f64(const std::string &name) const { return as<double>(name); }
  std::vector<float> f32(const std::string &name) const { return as<float>(name); }
  std::vector<int32_t> i32(const std::string &name) const { return as<int32_t>(name); }
  std::vector<int64_t> i64(const std::string &name) const { return as<int64_t>(name); }
  std::vector<uint8_t> u8(const std::string &name) const { return as<uint8_t>(name); }

  // The elements of any stored type as T.
  template <class T>
  std::vector<T> as(const std::string &name) const {
    const Tensor &t = at(name);
    const size_t n = t.count();
    std::vector<T> v(n);
    const uint8_t *p = t.bytes.data();
    const std::string &d = t.dtype;
    for (size_t i = 0; i < n; i++)
      v[i] = d == "F32"    ? (T)get<float>(p, i)
             : d == "F64"  ? (T)get<double>(p, i)
             : d == "I64"  ? (T)get<int64_t>(p, i)
             : d == "I32"  ? (T)get<int32_t>(p, i)
             : d == "I16"  ? (T)get<int16_t>(p, i)
             : d == "I8"   ? (T)get<int8_t>(p, i)
             : d == "F16"  ? (T)half(get<uint16_t>(p, i))
             : d == "BF16" ? (T)bfloat(get<uint16_t>(p, i))
                           : (T)p[i];  // U8, BOOL: width() admits no other
    return v;
  }

 private:
  static size_t width(const std::string &d) {
    if (d == "F64" || d == "I64")
      return 8;
    if (d == "F32" || d == "I32")
      return 4;
    if (d == "F16" || d == "BF16" || d == "I16")
      return 2;
    if (d == "U8" || d == "I8" || d == "BOOL")
      return 1;
    throw std::runtime_error("dtype " + d + " is not known to the test reader");
  }
  template <class S>
  static S get(const uint8_t *p, size_t i) {
    S s;
    memcpy(&s, p + i * sizeof(S), sizeof(S));
    return s;
  }
  static float bfloat(uint16_t h) {
    const uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
  }
  static double half(uint16_t h) {
    const int exponent = h >> 10 & 31, mantissa = h & 1023;
    const double sign = h >> 15 ? -1 : 1;
    if (exponent == 31)
      return mantissa ? NAN : sign * INFINITY;
    return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
  }

  std::string path_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace st

#endif
