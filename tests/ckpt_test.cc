// floor: ig_ckpt
// Checkpoints: what was saved comes back bit for bit, of one process or of many, and one run at a time writes them.
#include <sys/file.h>
#include <sys/wait.h>
#include <thread>

#include "runtime/ckpt/lock.h"
#include "tests/ckpt_common.h"

TEST_F(Ckpt, RoundTrip) {
  ASSERT_EQ(save(0), IG_OK) << ig_error_message();
  ASSERT_EQ(save(1200), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), (Names{"step-0", "step-1200"}));
  expect_valid(0);
  expect_valid(1200);
  EXPECT_EQ(latest(), 1200);
  EXPECT_EQ(ig_ckpt_verify(step_path(1200).c_str()), IG_OK) << ig_error_message();
  EXPECT_TRUE(warnings.empty());
}

TEST_F(Ckpt, ReaderRefusesWrongRequests) {
  ASSERT_EQ(save(3), IG_OK);
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open((step_path(3) + "//").c_str(), &r), IG_OK) << ig_error_message();
  float f[7];
  EXPECT_EQ(ig_ckpt_read(r, "weights", "absent", f, sizeof f), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_read(r, "extra", "fc/bias:0", f, sizeof f), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_read(r, "weights", "fc/bias:0", f, sizeof f - 1), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", 5, 3, f, 12), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", -1, 3, f, 12), IG_ERR_MISMATCH);
  EXPECT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", INT64_MAX, 3, f, 12), IG_ERR_MISMATCH);
  ASSERT_EQ(ig_ckpt_read_range(r, "weights", "fc/bias:0", 4, 3, f, 12), IG_OK) << ig_error_message();
  EXPECT_EQ(memcmp(f, State(3).bias.data() + 4, 12), 0);
  ig_ckpt_close(r);
  EXPECT_NE(refusal(run.string() + "/nothing", IG_ERR_NOT_FOUND), "");
}

TEST_F(Ckpt, LargeTensorsAreChunked) {
  std::vector<float> a(3 * 500 * 301), b(2 * 700001);
  for (size_t i = 0; i < a.size(); i++)
    a[i] = (float)i;
  for (size_t i = 0; i < b.size(); i++)
    b[i] = -(float)i;
  ig_ckpt_tensor list[] = {{"a", IG_F32, 3, {3, 500, 301}, a.data(), "weights", 0},
                           {"b", IG_F32, 2, {2, 700001}, b.data(), "weights", 0},
                           {"c", IG_F32, 1, {(int64_t)b.size()}, b.data(), "moments", 0}};
  auto o = options(1);
  ASSERT_EQ(ig_ckpt_save(&o, list, 3), IG_OK) << ig_error_message();
  uint64_t bytes = fs::file_size(step_path(1) + "/shard-00000.h5"), raw = 4 * (a.size() + 2 * b.size());
  EXPECT_LT(bytes, raw + raw / 50 + 65536);
  EXPECT_LE(bytes, ig_ckpt_bytes(list, 3));
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(1).c_str(), &r), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_ckpt_state_json(r), nullptr);
  std::vector<float> back(b.size());
  ASSERT_EQ(ig_ckpt_read(r, "weights", "a", back.data(), 4 * a.size()), IG_OK) << ig_error_message();
  EXPECT_EQ(memcmp(back.data(), a.data(), 4 * a.size()), 0);
  ASSERT_EQ(ig_ckpt_read(r, "weights", "b", back.data(), 4 * b.size()), IG_OK) << ig_error_message();
  EXPECT_EQ(back, b);
  ASSERT_EQ(ig_ckpt_read_range(r, "moments", "c", 262143, 700000, back.data(), 4 * 700000), IG_OK);
  EXPECT_EQ(memcmp(back.data(), b.data() + 262143, 4 * 700000), 0);
  ig_ckpt_close(r);
}

TEST_F(Ckpt, SizesAreBounded) {
  std::vector<uint8_t> data(3 << 20);
  for (size_t n : {0, 1, 2, 9, 700}) {
    std::vector<std::string> text(n);
    std::vector<ig_ckpt_tensor> list(n);
    for (size_t i = 0; i < n; i++) {
      text[i] = std::string(i % 7 ? 20 : 300, 'n') + "/" + std::to_string(i);
      list[i] = {text[i].c_str(), IG_U8, 8, {1, 1, 2, 1, 1, 1, 1, n < 10 ? 1000003 : 3}, data.data(), "weights", 0};
    }
    std::string json = "{\"log\":\"" + std::string(n * 5000, 'x') + "\"}";
    auto o = options((int64_t)n);
    o.state_json = json.c_str();
    ASSERT_EQ(ig_ckpt_save(&o, list.data(), n), IG_OK) << ig_error_message();
    EXPECT_LE(fs::file_size(step_path((int64_t)n) + "/shard-00000.h5"),
              ig_ckpt_bytes(list.data(), n) + 2 * json.size());
    ig_ckpt_reader *r;
    ASSERT_EQ(ig_ckpt_open(step_path((int64_t)n).c_str(), &r), IG_OK) << ig_error_message();
    EXPECT_EQ(ig_ckpt_state_json(r), json);
    EXPECT_EQ(ig_ckpt_count(r), n);
    ig_ckpt_close(r);
  }
}

TEST_F(Ckpt, SameStateSameBytes) {
  ASSERT_EQ(save(5), IG_OK);
  std::string shard = slurp(step_path(5) + "/shard-00000.h5"), manifest = slurp(step_path(5) + "/MANIFEST");
  sleep(1);  // time stamps would show
  ASSERT_EQ(save(5), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-5"});
  EXPECT_EQ(slurp(step_path(5) + "/shard-00000.h5"), shard);
  EXPECT_EQ(slurp(step_path(5) + "/MANIFEST"), manifest);
}

TEST_F(Ckpt, SaveRefuses) {
  float x[4] = {};
  auto status = [&](ig_ckpt_tensor t) {
    auto o = options(1);
    ig_status result = ig_ckpt_save(&o, &t, 1);
    EXPECT_TRUE(names().empty()) << "something was left";
    return result;
  };
  for (const char *name : {"", "/a", "a/", "a//b", "a/./b", "../b", ".", "\xff"})
    EXPECT_NE(status({name, IG_F32, 1, {4}, x, "weights", 0}), IG_OK) << name;
  EXPECT_NE(status({"a", IG_F32, 1, {4}, x, "other", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 1, {4}, nullptr, "weights", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 2, {1ll << 40, 1ll << 40}, x, "weights", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 2, {2, 2}, x, "moments", 0}), IG_OK);
  EXPECT_NE(status({"a", IG_F32, 1, {4}, x, "weights", 4}), IG_OK);  // the first fragment is missing
  ig_ckpt_tensor twice[] = {{"a", IG_F32, 1, {4}, x, "weights", 0}, {"a", IG_F32, 1, {4}, x, "state", 0}};
  auto o = options(1);
  EXPECT_EQ(ig_ckpt_save(&o, twice, 2), IG_ERR_USAGE);
  twice[1].group = "weights";
  EXPECT_EQ(ig_ckpt_save(&o, twice, 2), IG_ERR_USAGE);
  ig_ckpt_tensor inside[] = {{"a", IG_F32, 1, {4}, x, "weights", 0}, {"a/b", IG_F32, 1, {4}, x, "weights", 0}};
  EXPECT_NE(ig_ckpt_save(&o, inside, 2), IG_OK);
  o.keep = 2;
  EXPECT_EQ(ig_ckpt_save(&o, twice, 1), IG_ERR_USAGE);
  EXPECT_TRUE(names().empty());
}

TEST_F(Ckpt, RanksAndFragments) {  // 21, 58
  std::vector<float> m(100), w(6, 1.5f);
  for (size_t i = 0; i < m.size(); i++)
    m[i] = (float)i;
  std::vector<char *> entries;
  const int64_t cut[] = {0, 40, 41, 100};
  auto o = options(7);
  o.world_size = 3;
  ASSERT_EQ(ig_ckpt_begin(&o), IG_OK) << ig_error_message();
  for (int rank = 0; rank < 3; rank++) {
    ig_ckpt_tensor list[] = {
        {"m/w", IG_F32, 1, {cut[rank + 1] - cut[rank]}, m.data() + cut[rank], "moments", cut[rank]},
        {"w", IG_F32, 2, {2, 3}, w.data(), "weights", 0}};
    o.rank = rank;
    o.state_json = rank == 0 ? "{}" : nullptr;
    entries.push_back(nullptr);
    ASSERT_EQ(ig_ckpt_write_shard(&o, list, rank == 0 ? 2 : 1, &entries.back()), IG_OK) << ig_error_message();
  }
  EXPECT_EQ(names(), Names{"step-7.tmp"});
  o.rank = 0;
  const char *rows[] = {entries[0], entries[1], entries[2]};
  ASSERT_EQ(ig_ckpt_commit(&o, rows, 3), IG_OK) << ig_error_message();
  for (char *e : entries)
    ig_free(e);
  EXPECT_EQ(names(), Names{"step-7"});
  ig_ckpt_reader *r;
  ASSERT_EQ(ig_ckpt_open(step_path(7).c_str(), &r), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_ckpt_world_size(r), 3);
  EXPECT_EQ(ig_ckpt_find(r, "moments", "m/w")->whole, 100);
  std::vector<float> back(100);
  ASSERT_EQ(ig_ckpt_read(r, "moments", "m/w", back.data(), 400), IG_OK) << ig_error_message();
  EXPECT_EQ(back, m);
  for (int64_t first = 0; first < 100; first += 7) {  // ranges as another number of ranks would read them
    int64_t n = std::min<int64_t>(45, 100 - first);
    ASSERT_EQ(ig_ckpt_read_range(r, "moments", "m/w", first, n, back.data(), (size_t)n * 4), IG_OK);
    EXPECT_EQ(memcmp(back.data(), m.data() + first, (size_t)n * 4), 0) << first;
  }
  ig_ckpt_close(r);
  EXPECT_EQ(ig_ckpt_verify(step_path(7).c_str()), IG_OK) << ig_error_message();
  fs::remove(step_path(7) + "/shard-00001.h5");
  EXPECT_TRUE(has(refusal(step_path(7)), "shard-00001.h5 is missing"));
}

TEST_F(Ckpt, CommitRefusesMissingRanksAndHoles) {
  float x[4] = {};
  auto o = options(7);
  o.world_size = 2;
  char *entry[2];
  for (int hole = 0; hole < 2; hole++) {
    ASSERT_EQ(ig_ckpt_begin(&o), IG_OK);
    for (o.rank = 0; o.rank < 2; o.rank++) {
      ig_ckpt_tensor t = {"m", IG_F32, 1, {2}, x, "moments", o.rank * (2 + hole)};
      ASSERT_EQ(ig_ckpt_write_shard(&o, &t, 1, &entry[o.rank]), IG_OK) << ig_error_message();
    }
    o.rank = 0;
    const char *rows[] = {entry[0], hole ? entry[1] : entry[0]};
    EXPECT_NE(ig_ckpt_commit(&o, rows, 2), IG_OK);
    ig_free(entry[0]);
    ig_free(entry[1]);
    EXPECT_TRUE(names().empty());
  }
}

TEST_F(Ckpt, Prune) {
  auto save_with = [&](int64_t step, int keep, int64_t protect) {
    State state(step);
    auto list = state.list();
    auto o = options(step);
    o.keep = keep;
    o.protect = protect;
    o.state_json = state.json.c_str();
    return ig_ckpt_save(&o, list.data(), list.size());
  };
  for (int64_t step = 1; step <= 6; step++)
    ASSERT_EQ(save_with(step, 0, 2), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), (Names{"step-2", "step-4", "step-5", "step-6"}));
  // A damaged one does not count among those that are kept.
  fs::resize_file(step_path(5) + "/shard-00000.h5", 100);
  ASSERT_EQ(save_with(7, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-4", "step-5", "step-6", "step-7"}));
  ASSERT_EQ(save_with(8, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-6", "step-7", "step-8"}));
  // Going back: steps of the abandoned future are neither counted nor removed, nor do they push out the new one.
  ASSERT_EQ(save_with(3, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-3", "step-6", "step-7", "step-8"}));
  expect_valid(3);
  // Names that are not ours stay.
  fs::create_directories(folder + "/step-01");
  fs::create_directories(folder + "/step-1x");
  put(folder + "/notes.txt", "mine");
  ASSERT_EQ(save_with(9, 3, -1), IG_OK);
  EXPECT_EQ(names(), (Names{"step-7", "step-8", "step-9", "step-01", "step-1x", "notes.txt"}));
}

TEST_F(Ckpt, FallsBackAndSaysSo) {  // 20
  EXPECT_EQ(latest(), -1);
  ASSERT_EQ(save(1), IG_OK);
  ASSERT_EQ(save(2), IG_OK);
  ASSERT_EQ(save(3), IG_OK);
  std::string shard = step_path(3) + "/shard-00000.h5", bytes = slurp(shard);
  bytes[bytes.size() / 2] ^= 1;
  put(shard, bytes);
  fs::remove(step_path(2) + "/MANIFEST");
  std::vector<std::string> said;
  EXPECT_EQ(latest(&said), 1);
  ASSERT_EQ(said.size(), 2u);
  EXPECT_TRUE(has(said[0], "step 3") && has(said[0], "SHA-256") && has(said[0], shard)) << said[0];
  EXPECT_TRUE(has(said[1], "step 2") && has(said[1], "MANIFEST")) << said[1];
  // The damaged one is replaced when the run comes by again.
  ASSERT_EQ(save(3), IG_OK) << ig_error_message();
  EXPECT_EQ(latest(), 3);
  ig_ckpt_info *list;
  size_t n;
  ASSERT_EQ(ig_ckpt_list(folder.c_str(), true, &list, &n), IG_OK);
  ASSERT_EQ(n, 3u);
  EXPECT_TRUE(list[0].step == 1 && list[0].valid && !list[0].problem);
  EXPECT_TRUE(list[1].step == 2 && !list[1].valid && has(list[1].problem, "MANIFEST"));
  EXPECT_TRUE(list[2].step == 3 && list[2].valid && list[2].bytes == fs::file_size(shard));
  ig_ckpt_list_free(list, n);
  fs::rename(step_path(1), step_path(4));
  EXPECT_TRUE(has(refusal(step_path(4)), "step 1"));
  // None is left: the newest is named, and what to do.
  fs::remove(step_path(3) + "/MANIFEST");
  EXPECT_EQ(latest(), -1);
  const std::string none = ig_error_message();
  EXPECT_TRUE(has(none, "none of its checkpoints is valid; the newest: checkpoint of step 4 ") &&
              has(none, "put a copy of one back, or start a new run"))
      << none;
}

TEST_F(Ckpt, EmptyAndMissingFolders) {
  ig_ckpt_reader *r;
  EXPECT_EQ(ig_ckpt_open_latest(folder.c_str(), &r, nullptr, nullptr), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK);
  ig_ckpt_info *list;
  size_t n;
  ASSERT_EQ(ig_ckpt_list(folder.c_str(), false, &list, &n), IG_OK);
  EXPECT_EQ(n, 0u);
  ig_ckpt_list_free(list, n);
}

TEST_F(Ckpt, Sweep) {
  ASSERT_EQ(save(1), IG_OK);
  fs::copy(step_path(1), folder + "/step-2.tmp");
  fs::rename(step_path(1), folder + "/step-1.old");  // killed between the two renames
  ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-1"});
  expect_valid(1);
  fs::copy(step_path(1), folder + "/step-1.old");  // killed before the old one was removed
  ASSERT_EQ(ig_ckpt_sweep(folder.c_str()), IG_OK) << ig_error_message();
  EXPECT_EQ(names(), Names{"step-1"});
  expect_valid(1);
}

TEST_F(Ckpt, Probe) {  // 51
  EXPECT_EQ(ig_ckpt_probe(folder.c_str(), 1000), IG_OK) << ig_error_message();
  EXPECT_TRUE(names().empty());
  EXPECT_EQ(ig_ckpt_probe(folder.c_str(), UINT64_MAX), IG_ERR_IO);
  EXPECT_TRUE(has(ig_error_message(), "free")) << ig_error_message();
  EXPECT_NE(ig_ckpt_probe("/proc/ingot", 1), IG_OK);
}

// --- lock ---

TEST_F(Ckpt, LockKeepsTheSecondRunOut) {  // 62
  ig_lock *first, *second;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &first), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  EXPECT_EQ(second, nullptr);
  EXPECT_TRUE(has(ig_error_message(), "process " + std::to_string(getpid()))) << ig_error_message();
  ig_lock_release(first);
  // A process that is killed leaves no lock behind.
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    ig_lock *held;
    ig_status status = ig_lock_acquire(run.c_str(), &held);
    (void)!write(ready[1], status == IG_OK ? "y" : "n", 1);
    pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  EXPECT_TRUE(has(ig_error_message(), "process " + std::to_string(child))) << ig_error_message();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &second), IG_OK) << ig_error_message();
  ig_lock_release(second);
  close(ready[0]);
  close(ready[1]);
  EXPECT_EQ(ig_lock_acquire("/nonexistent", &second), IG_ERR_NOT_FOUND);
  EXPECT_EQ(ig_status_exit_code(IG_ERR_BUSY), 2);
}

// A lock that is removed after a second process has opened it is not locked by that one: a third would make a new file.
TEST_F(Ckpt, LockIsTakenOnTheFileThatIsThere) {
  static ig_lock *first;
  static int calls;
  calls = 0;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &first), IG_OK) << ig_error_message();
  ig_fileops ops = *ig_fileops_get();
  ops.flock = [](int fd, int operation) {
    if (calls++ == 0)
      ig_lock_remove(first);
    return flock(fd, operation);
  };
  ig_fileops_set(&ops);
  ig_lock *second, *third;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &second), IG_OK) << ig_error_message();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &third), IG_ERR_BUSY);
  ig_lock_remove(second);
  EXPECT_FALSE(fs::exists(run.string() + "/.lock"));
  // One that always goes again is an error, not a loop without an end.
  static std::string path;
  path = run.string() + "/.lock";
  ops.flock = [](int fd, int operation) {
    unlink(path.c_str());
    return flock(fd, operation);
  };
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &third), IG_ERR_BUSY);
  EXPECT_TRUE(has(ig_error_message(), "made and removed by other processes")) << ig_error_message();
}

TEST_F(Ckpt, LockWithoutKernelSupport) {
  ig_fileops ops = *ig_fileops_get();
  ops.flock = [](int, int) {
    errno = ENOSYS;
    return -1;
  };
  ig_fileops_set(&ops);
  ig_lock *lock, *second;
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &second), IG_ERR_BUSY);
  ig_lock_release(lock);
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  ig_lock_release(lock);
  put(run.string() + "/.lock", "4 another-host\n");
  EXPECT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_ERR_BUSY);
  EXPECT_TRUE(has(ig_error_message(), "another-host") && has(ig_error_message(), "remove that file"));
  pid_t gone = fork();
  if (gone == 0)
    _exit(0);
  waitpid(gone, nullptr, 0);
  char host[256];
  ASSERT_EQ(gethostname(host, sizeof host), 0);
  put(run.string() + "/.lock", std::to_string(gone) + " " + host + "\n");
  ASSERT_EQ(ig_lock_acquire(run.c_str(), &lock), IG_OK) << ig_error_message();
  ig_lock_release(lock);
}

// --- threads, and the file as others see it ---

TEST_F(Ckpt, ThreadsSaveAndReadAtOnce) {
  ASSERT_EQ(save(1), IG_OK);
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; t++)
    threads.emplace_back([&, t] {
      std::string mine = run.string() + "/thread-" + std::to_string(t);
      for (int64_t step = 1; step <= 5; step++) {
        State state(step);
        auto list = state.list();
        auto o = options(step);
        o.folder = mine.c_str();
        o.state_json = state.json.c_str();
        EXPECT_EQ(ig_ckpt_save(&o, list.data(), list.size()), IG_OK) << ig_error_message();
        expect_valid(1);
      }
    });
  for (auto &t : threads)
    t.join();
}

TEST_F(Ckpt, H5pyReadsAStateDict) {
  const char *env = getenv("INGOT_PYTHON");
  std::string python = env ? env : "python3";
  if (system((python + " -c 'import numpy, h5py' >/dev/null 2>&1").c_str()) != 0)
    GTEST_SKIP() << python << " cannot import h5py (INGOT_PYTHON=... chooses another)";
  ASSERT_EQ(save(8), IG_OK);
  std::string script = run.string() + "/check.py";
  std::ofstream(script) << "import sys, h5py, numpy as np, hashlib, json\n"
                           "f = h5py.File(sys.argv[1] + '/shard-00000.h5', 'r')\n"
                           "d = f['state_dict']\n"
                           "assert d['conv1.weight'].shape == (16, 3, 3, 3) and d['conv1.weight'].dtype == np.float32\n"
                           "assert d['conv1.weight'].chunks and d['conv1.weight'].fletcher32\n"
                           "assert int(d['bn1.num_batches_tracked'][()]) == 8\n"
                           "assert d['fc/bias:0'].shape == (7,) and d['bn1.running_mean'].shape == (7,)\n"
                           "assert f['extra/fp16'].dtype == np.float16\n"
                           "m = f['moments/m/flat']\n"
                           "assert m.attrs['offset'] == 0 and m.attrs['length'] == m.shape[0] == 439\n"
                           "assert f.attrs['step'] == 8\n"
                           "w = d['conv1.weight']\n"
                           "assert hashlib.sha256(w[()].tobytes()).hexdigest().encode() == bytes(w.attrs['sha256'])\n"
                           "assert json.loads(f['run/state_json'][()].tobytes())['position'] == 1024\n"
                           "man = json.load(open(sys.argv[1] + '/MANIFEST'))\n"
                           "h = man.pop('sha256')\n"
                           "assert hashlib.sha256(json.dumps(man, sort_keys=True, separators=(',', ':'),\n"
                           "                      ensure_ascii=False).encode()).hexdigest() == h\n"
                           "assert f.id.get_create_plist().get_version()[0] == 2\n";
  EXPECT_EQ(system((python + " " + script + " " + step_path(8)).c_str()), 0);
}
