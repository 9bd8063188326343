// main of test programs that need a GPU, or the simulator in its place.
#ifndef INGOT_TESTS_CUDA_MAIN_H
#define INGOT_TESTS_CUDA_MAIN_H

#include <cstdio>
#include <gtest/gtest.h>

#include "runtime/device/device.h"

// What the device can do; false, and why is said, where there is none.
inline bool find_cuda(bool tf32, ig_device_caps *caps) {
  ig_device *device = nullptr;
  ig_cuda_options o = {};
  o.size = sizeof o;
  o.tf32 = tf32;
  if (ig_device_create_cuda(&o, &device) != IG_OK) {
    printf("skipped: %s\n", ig_error_message());
    return false;
  }
  *caps = device->caps;
  ig_device_destroy(device);
  return true;
}

// 77 is ctest's word for skipped.
inline int run_cuda_tests(int argc, char **argv) {
  ig_device_caps caps;
  testing::InitGoogleTest(&argc, argv);
  return find_cuda(false, &caps) ? RUN_ALL_TESTS() : 77;
}

#endif
