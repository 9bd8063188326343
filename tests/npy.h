// Reads NumPy's files of floats, version 1.
#ifndef INGOT_TESTS_NPY_H
#define INGOT_TESTS_NPY_H

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

inline std::vector<double> read_npy(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  uint16_t header = 0;
  if (all.size() < 10 || all.compare(1, 5, "NUMPY") || all[6] != 1)
    throw std::runtime_error(path + ": not a version 1 .npy file");
  memcpy(&header, all.data() + 8, 2);
  const std::string text = all.substr(10, header);
  const bool f8 = text.find("<f8") != std::string::npos, f4 = text.find("<f4") != std::string::npos;
  if (f4 == f8 || text.find("'fortran_order': False") == std::string::npos)
    throw std::runtime_error(path + ": neither <f4 nor <f8 in C order");
  const size_t width = f8 ? 8 : 4, from = 10u + header;
  std::vector<double> v((all.size() - from) / width);
  for (size_t i = 0; i < v.size(); i++) {
    float f = 0;
    memcpy(f8 ? (void *)&v[i] : &f, all.data() + from + i * width, width);
    if (f4)
      v[i] = f;
  }
  return v;
}

#endif
