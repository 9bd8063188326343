// floor: ig_ckpt
// Flipped bits in a checkpoint: each is seen when it is opened or read, or changes nothing of what is loaded.
#include <set>

#include "tests/fault_state.h"

using namespace fault;

class FaultFlips : public ::testing::Test {
 protected:
  FaultFlips() : run("ig_flips"), folder(run / "checkpoints") {
    EXPECT_EQ(save_now(folder, 6), IG_OK) << ig_error_message();
    EXPECT_EQ(save_now(folder, 8), IG_OK) << ig_error_message();
    for (const char *name : {"shard-00000.h5", "MANIFEST"}) {
      paths.push_back(folder + "/step-8/" + name);
      whole.push_back(slurp(paths.back()));
    }
  }
  ~FaultFlips() override { leaks.check(); }

  // Opens step 8 with the damage that `file` has now. True where it was refused; else its state is the saved one.
  bool refused(const std::string &what) {
    ig_ckpt_reader *r = nullptr;
    ig_status status = ig_ckpt_open((folder + "/step-8").c_str(), &r);
    if (status != IG_OK) {
      EXPECT_EQ(status, IG_ERR_FORMAT) << what << ": " << ig_error_message();
      EXPECT_NE(std::string(ig_error_message()).find("step-8"), std::string::npos) << ig_error_message();
      return true;
    }
    std::string difference = compare(r);
    ig_ckpt_close(r);
    EXPECT_EQ(difference, "") << what << " went unseen";
    return false;
  }

  Leaks leaks;
  Folder run;
  std::string folder;
  std::vector<std::string> paths, whole;
};

TEST_F(FaultFlips, OneBit) {  // 20
  std::mt19937_64 random(20);
  long n = count(1500, 80000), harmless = 0, in_manifest = 0;
  for (long i = 0; i < n && !HasFailure(); i++) {
    // Every other one in the MANIFEST, which is small and is what all else rests on.
    size_t file = (size_t)(i & 1);
    size_t bit = random() % (8 * whole[file].size());
    std::string bad = whole[file];
    bad[bit / 8] = (char)(bad[bit / 8] ^ 1 << bit % 8);
    put(paths[file], bad);
    bool seen = refused(paths[file] + ", bit " + std::to_string(bit));
    harmless += !seen;
    in_manifest += file == 1;
    EXPECT_TRUE(seen || file == 1) << "a flipped bit in the shard was not seen";
    // Going back to the older one is what a run does about it.
    if (seen && i % 100 == 0) {
      EXPECT_EQ(newest(folder), 6);
    }
    put(paths[file], whole[file]);
  }
  // White space of the MANIFEST that became other white space.
  EXPECT_LT(harmless, in_manifest / 5);
  printf("%ld flips, %ld harmless\n", n, harmless);
}

TEST_F(FaultFlips, SeveralBitsBytesAndBlocks) {  // 20
  std::mt19937_64 random(21);
  long n = count(500, 20000);
  for (long i = 0; i < n && !HasFailure(); i++) {
    size_t file = (size_t)(i & 1);
    std::string bad = whole[file];
    size_t at = random() % bad.size(), length = 1 + random() % 600;
    switch (random() % 4) {
      case 0:  // a burst
        for (size_t k = at; k < bad.size() && k < at + length; k++)
          bad[k] = (char)random();
        break;
      case 1:  // a block that was never written
        for (size_t k = at; k < bad.size() && k < at + length; k++)
          bad[k] = 0;
        break;
      case 2:  // a block of elsewhere
        for (size_t k = at; k < bad.size() && k < at + length; k++)
          bad[k] = whole[file][(k + 4096) % bad.size()];
        break;
      default:
        for (int k = 0; k < 16; k++)
          bad[random() % bad.size()] ^= (char)(1 << random() % 8);
    }
    put(paths[file], bad);
    bool seen = refused(paths[file] + ", damage " + std::to_string(i));
    EXPECT_TRUE(seen || bad == whole[file] || file == 1);
    put(paths[file], whole[file]);
  }
}
