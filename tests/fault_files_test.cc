// Every file operation of a whole run failed in turn: start, steps, save, prune, finish, and going on from a
// checkpoint. Rule: after each failure the old checkpoints are whole, the message says what and where, nothing leaks,
// and the same command with resume=auto then gives the very weights of an undisturbed run.
#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <sys/wait.h>

#include "tests/fault_train.h"

using namespace fault;

namespace {

// One failure: the `at`-th call of `op` on files of that role, and with `lasting` all that follow of the same kind.
struct Fault {
  Op op;
  std::string role;
  int at;     // from 1
  int error;  // errno or HALF
  bool lasting;
  std::string text() const {
    return std::string(name_of(op)) + " " + role + " #" + std::to_string(at) + " " +
           (error == HALF ? "half" : strerror(error)) + (lasting ? " from there on" : "");
  }
};

class FaultFiles : public ::testing::Test {
 protected:
  FaultFiles() : home("ig_files"), data(home / "data") {
    make_pictures(data, 4, 2, 16);
    use_cache(home.path);
  }
  ~FaultFiles() override { watch(nullptr); }

  std::vector<std::string> words(const std::string &out) const {
    return train_words(data, out, {"steps=4", "save_every=1", "keep=3", "resume=auto"});
  }
  // A path without the test's folder and with # for numbers, so that the same file of another run has the same role.
  std::string role(const std::string &path) const {
    std::string at = path.rfind(home.path, 0) == 0 ? path.substr(home.path.size()) : path, r;
    if (at.rfind("/proc/", 0) == 0 || at.rfind("/sys/", 0) == 0)
      return at.substr(0, 5);  // what the machine allows: hints only
    for (char c : at)
      if (!isdigit((unsigned char)c))
        r += c;
      else if (r.empty() || r.back() != '#')
        r += '#';
    size_t vm = r.find("/events.out");  // time, host and process
    return vm == std::string::npos ? r : r.substr(0, vm + 11);
  }
  using Counts = std::map<std::pair<Op, std::string>, int>;
  // Operations of one call, by kind and role.
  Counts census(const std::function<void()> &action) const {
    Counts counts;
    std::mutex mutex;
    watch([&](const Call &call) {
      std::string r = role(path_of(call));
      std::lock_guard<std::mutex> lock(mutex);
      counts[{call.op, r}]++;
      return 0;
    });
    action();
    watch(nullptr);
    return counts;
  }
  static bool takes_room(const Call &call) {
    return call.op == WRITE || call.op == PWRITE || call.op == MKDIR || (call.op == OPEN && call.flags & O_CREAT);
  }
  // Runs `action` with the fault; tells how often it struck.
  int strike(const Fault &fault, const std::function<void()> &action) const {
    std::mutex mutex;
    int seen = 0, struck = 0;
    watch([&](const Call &call) {
      std::lock_guard<std::mutex> lock(mutex);
      if (struck && fault.lasting) {  // the disk of the run, or that of the data
        bool same_disk = (role(path_of(call)).rfind("/data", 0) == 0) == (fault.role.rfind("/data", 0) == 0);
        return same_disk && (fault.error != ENOSPC || takes_room(call)) ? (struck++, fault.error) : 0;
      }
      if (call.op != fault.op || role(path_of(call)) != fault.role || ++seen != fault.at)
        return 0;
      struck++;
      return fault.error;
    });
    action();
    watch(nullptr);
    return struck;
  }

  static bool changes_files(Op op, const std::string &where) {
    return op == WRITE || op == PWRITE || op == FTRUNCATE || op == FSYNC || op == RENAME || op == UNLINK ||
           op == MKDIR || op == RMDIR || op == FLOCK || where.find(".tmp") != std::string::npos;
  }
  // What fails. Long form: every call, once and for good, with every error. Short form: kinds (operation and role) that
  // change files each at its first or last call, every twelfth of the others; `half` (0 or 1) says which half of them.
  static std::vector<Fault> faults(const Counts &counts, size_t half) {
    std::vector<Fault> list;
    size_t changing = half, reading = 3 * half, turn = 0;
    for (auto &[key, n] : counts) {
      auto [op, where] = key;
      std::vector<int> errors = {EIO};
      if (op == WRITE)
        errors = {ENOSPC, EIO, HALF};
      else if (op == READ || op == PREAD)
        errors = {EIO, HALF};
      else if (op == OPEN)
        errors = {EIO, EMFILE, ENOSPC, EACCES};
      else if (op == MKDIR || op == RENAME)
        errors = {ENOSPC, EIO, EROFS};
      if (long_form()) {
        for (int at = 1; at <= n; at++)
          for (int error : errors)
            for (bool lasting : {false, true})
              if (!(lasting && error == HALF))
                list.push_back({op, where, at, error, lasting});
      } else if (op == WRITE && changing % 2 == 1) {  // the other test fails it
        list.push_back({op, where, n, HALF, false});
        changing++;
      } else if (changes_files(op, where) ? changing++ % 2 == 0 : reading++ % 12 == 0) {
        int error = errors[turn % (op == WRITE ? 2 : errors.size())];
        list.push_back({op, where, turn % 2 ? 1 : n, error, error != HALF && turn / errors.size() % 2 == 1});
        turn++;
      }
    }
    return list;
  }

  static long rows_of(const std::string &run) {
    std::string log = slurp(run + "/log.jsonl");
    return std::count(log.begin(), log.end(), '\n');
  }

  // The judgement of the rule above.
  void judge(const Fault &fault, const Answer &answer, const std::string &out, int64_t at_least,
             const std::string &expected_model) {
    if (answer.status != IG_OK) {
      int code = ig_status_exit_code(answer.status);
      EXPECT_TRUE(code == 1 || code == 2) << code;
      EXPECT_NE(answer.status, IG_ERR_INTERNAL) << answer.message;
      bool reason = fault.error == HALF || answer.message.find(strerror(fault.error)) != std::string::npos;
      EXPECT_TRUE(answer.message.find('/') != std::string::npos && (reason || answer.message.size() > 40))
          << "unclear: " << answer.message;
      // A disk that fails in the middle of a run is not the user's mistake; one that cannot be used at its start is.
      bool start = fault.role.find("/.probe") != std::string::npos || fault.role.find("/.lock") != std::string::npos;
      if (!start && (fault.op == WRITE || fault.op == FSYNC || fault.op == RENAME)) {
        EXPECT_EQ(code, 1) << answer.message;
      }
    }
    // What a step writes is tried again: one failure in it costs a warning.
    bool of_a_step = false;
    for (const char *part : {"/checkpoints/step-#.tmp", "/log.jsonl", "/events.out", "/model.safetensors.tmp"})
      of_a_step = of_a_step || fault.role.find(part) != std::string::npos;
    // The first record of the events is written before the first step: a disk that fails there stops the start.
    of_a_step = of_a_step && !(fault.role.find("/events.out") != std::string::npos && fault.at == 1);
    if (of_a_step && !fault.lasting && (fault.op == WRITE || fault.op == FSYNC || fault.op == RENAME)) {
      EXPECT_EQ(answer.status, IG_OK) << answer.message;
      EXPECT_TRUE(fault.error == HALF || answer.said("warning: ")) << "silent";
    }
    std::string checkpoints = out + "/checkpoints";
    ig_ckpt_info *list = nullptr;
    size_t n = 0;
    ASSERT_EQ(ig_ckpt_list(checkpoints.c_str(), true, &list, &n), IG_OK) << ig_error_message();
    for (size_t i = 0; i < n; i++)
      EXPECT_TRUE(list[i].valid) << list[i].problem;
    EXPECT_TRUE(at_least < 0 || (n && list[n - 1].step >= at_least)) << "the old checkpoint is gone";
    ig_ckpt_list_free(list, n);
    Answer again = answer.status == IG_OK ? answer : call("train", words(out));
    ASSERT_EQ(again.status, IG_OK) << "not to be continued: " << again.message;
    EXPECT_TRUE(slurp(out + "/model.safetensors") == expected_model) << "other weights than without the failure";
    if (answer.status == IG_OK) {
      EXPECT_EQ(rows_of(out), 6) << "log.jsonl has a gap";  // four steps and two evaluations
    }
  }

  Folder home;
  std::string data;
};

// "write /path" -> how often, for calls that can change what lies under one of the roots.
using Changes = std::map<std::string, long>;

bool below(const std::string &path, const std::vector<std::string> &roots) {
  for (auto &root : roots)
    if (path == root || path.rfind(root + "/", 0) == 0)
      return true;
  return false;
}

// What strace -f -y saw: calls by the name that the table has for them, others by their own.
Changes changes_of_trace(const std::string &file, const std::vector<std::string> &roots) {
  static const std::map<std::string, std::string> same = {
      {"openat", "open"},   {"pwrite64", "pwrite"},  {"fdatasync", "fsync"}, {"renameat", "rename"},
      {"mkdirat", "mkdir"}, {"renameat2", "rename"}, {"unlinkat", "unlink"}, {"creat", "open"}};
  Changes changes;
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    size_t begin = line.find_first_not_of("0123456789 "), paren = line.find('(');
    if (begin == std::string::npos || paren == std::string::npos || line.find(" resumed>") != std::string::npos)
      continue;
    std::string name = line.substr(begin, paren - begin), path;
    // Paths are named, "...", or stand behind a descriptor, <...>. The first that is one of ours counts; rename's
    // first is what the table names too.
    for (size_t at = paren; path.empty() && at != std::string::npos && at < line.size(); at++) {
      char close = line[at] == '"' ? '"' : line[at] == '<' ? '>' : 0;
      size_t end = close ? line.find(close, at + 1) : std::string::npos;
      if (end == std::string::npos)
        continue;
      if (below(line.substr(at + 1, end - at - 1), roots))
        path = line.substr(at + 1, end - at - 1);
      at = end;
    }
    auto known = same.find(name);
    bool opening = name.rfind("open", 0) == 0 || name == "creat";
    bool writes = line.find("O_WRONLY") != std::string::npos || line.find("O_RDWR") != std::string::npos ||
                  line.find("O_CREAT") != std::string::npos || line.find("O_TRUNC") != std::string::npos;
    bool mapping = name == "mmap" &&
                   (line.find("PROT_WRITE") == std::string::npos || line.find("MAP_SHARED") == std::string::npos);
    if (path.empty() || (opening && !writes && name != "creat") || mapping)
      continue;
    if (name == "unlinkat" && line.find("AT_REMOVEDIR") != std::string::npos)
      changes["rmdir " + path]++;
    else
      changes[(known == same.end() ? name : known->second) + " " + path]++;
  }
  return changes;
}

constexpr const char *TRACED =
    "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,truncate,ftruncate,fallocate,fsync,fdatasync,"
    "sync_file_range,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,mknod,"
    "mknodat,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,utimensat,setxattr,fsetxattr,copy_file_range,sendfile,"
    "splice,mmap";

}  // namespace

// A second process trains under strace and counts by its table; both must have seen the same calls.
TEST_F(FaultFiles, NothingChangesAFileButByTheTable) {
  const char *child = getenv("INGOT_FAULT_CHILD");
  std::string at = child ? child : home.path;
  std::vector<std::string> roots = {at + "/run", at + "/cache"};
  if (child) {
    Changes seen;
    std::mutex mutex;
    use_cache(at);
    // With choices by timing, so that the cache of these is written too.
    auto first = train_words(at + "/data", at + "/run", {"steps=4", "save_every=1", "resume=auto", "deterministic=0"});
    watch([&](const Call &call) {
      bool changes = call.op == OPEN
                         ? (call.flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0
                         : call.op == WRITE || call.op == PWRITE || call.op == FTRUNCATE || call.op == FSYNC ||
                               call.op == RENAME || call.op == UNLINK || call.op == MKDIR || call.op == RMDIR;
      std::string path = changes ? path_of(call) : "";
      std::lock_guard<std::mutex> lock(mutex);
      if (changes && below(path, roots))
        seen[std::string(name_of(call.op)) + " " + path]++;
      return 0;
    });
    ASSERT_EQ(call("train", first, 2).status, IG_STOPPED) << ig_error_message();
    ASSERT_EQ(call("train", first).status, IG_OK) << ig_error_message();
    ASSERT_EQ(call("report", {at + "/run", "out=" + at + "/run/again.html"}).status, IG_OK) << ig_error_message();
    ASSERT_EQ(call("convert", {at + "/run", at + "/run/copy.safetensors"}).status, IG_OK) << ig_error_message();
    watch(nullptr);
    std::ofstream out(at + "/table");
    for (auto &[what, n] : seen)
      out << n << " " << what << "\n";
    return;
  }
  std::string trace = home / "trace";
  std::string command = "INGOT_FAULT_CHILD='" + at + "' ASAN_OPTIONS=detect_leaks=0 strace -f -y -qq -o '" + trace +
                        "' -e trace=" + TRACED + " '" + fs::read_symlink("/proc/self/exe").string() +
                        "' --gtest_filter=FaultFiles.NothingChangesAFileButByTheTable > '" + (home / "said") + "' 2>&1";
  if (system("command -v strace > /dev/null 2>&1"))
    GTEST_SKIP() << "strace is not installed";
  if (system(("strace -f -o '" + (home / "probe") + "' true > /dev/null 2>&1").c_str()))
    GTEST_SKIP() << "strace may not trace here (ptrace is not permitted)";
  int status = system(command.c_str());
  ASSERT_EQ(status, 0) << slurp(home / "said");
  Changes table, system_calls = changes_of_trace(trace, roots);
  std::ifstream in(home / "table");
  long n, total = 0;
  for (std::string what; in >> n && in.get() && std::getline(in, what); total += n)
    table[what] = n;
  EXPECT_GT(total, 100);
  for (auto &[what, count] : system_calls) {
    EXPECT_EQ(table[what], count) << what << ": by the table | by the process";
    table.erase(what);
  }
  for (auto &[what, count] : table)
    ADD_FAILURE() << what << ": " << count << " by the table, none seen by strace";
  printf("%ld calls that change files, all by the table\n", total);
}

TEST_F(FaultFiles, EveryOperationOfAWholeRun) {  // 50
  std::string whole = home / "whole", out = home / "run";
  Answer answer = call("train", words(whole));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  std::string model = slurp(whole + "/model.safetensors");
  Counts counts = census([&] { answer = call("train", words(out)); });
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  ASSERT_EQ(slurp(out + "/model.safetensors"), model);
  Leaks leaks;
  int n = 0, stopped = 0;
  for (auto &fault : faults(counts, 0)) {
    fs::remove_all(out);
    fs::remove_all(home / "cache");
    int struck = strike(fault, [&] { answer = call("train", words(out)); });
    n += struck > 0;
    stopped += answer.status != IG_OK;
    judge(fault, answer, out, -1, model);
    leaks.check();
    ASSERT_FALSE(HasFailure()) << fault.text() << ": " << answer.message;
  }
  int operations = 0;
  for (auto &entry : counts)
    operations += entry.second;
  printf("%d operations of %zu kinds; %d failed one by one, %d of them stopped the run\n", operations, counts.size(), n,
         stopped);
  EXPECT_GT(stopped, n / 4);
}

// A folder of the data that cannot be looked at is not one that is missing: else another split would be trained on.
TEST_F(FaultFiles, EveryLookAtAPart) {
  std::string whole = home / "whole", out = home / "run";
  Answer answer = call("train", words(whole));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  std::string model = slurp(whole + "/model.safetensors");
  Counts counts = census([&] { answer = call("train", words(out)); });
  const int looks = counts[{STAT, "/data/val"}];
  EXPECT_GT(looks, 0);
  for (int at = 1; at <= looks; at++) {
    fs::remove_all(out);
    const Fault fault = {STAT, "/data/val", at, EIO, false};
    EXPECT_EQ(strike(fault, [&] { answer = call("train", words(out)); }), 1);
    judge(fault, answer, out, -1, model);
    ASSERT_FALSE(HasFailure()) << fault.text() << ": " << answer.message;
  }
}

TEST_F(FaultFiles, EveryOperationOfGoingOn) {  // 50
  std::string whole = home / "whole", half = home / "half", out = home / "run";
  Answer answer = call("train", words(whole));
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  std::string model = slurp(whole + "/model.safetensors");
  answer = call("train", words(half), 2);
  ASSERT_EQ(answer.status, IG_STOPPED) << answer.message;
  fs::copy(half, out, fs::copy_options::recursive);
  Counts counts = census([&] { answer = call("train", words(out)); });
  ASSERT_EQ(answer.status, IG_OK) << answer.message;
  ASSERT_EQ(slurp(out + "/model.safetensors"), model);
  Leaks leaks;
  int n = 0, stopped = 0;
  for (auto &fault : faults(counts, 1)) {
    fs::remove_all(out);
    fs::copy(half, out, fs::copy_options::recursive);
    n += strike(fault, [&] { answer = call("train", words(out)); }) > 0;
    stopped += answer.status != IG_OK;
    judge(fault, answer, out, 2, model);
    leaks.check();
    ASSERT_FALSE(HasFailure()) << fault.text() << ": " << answer.message;
  }
  printf("%d operations failed one by one, %d of them stopped the run\n", n, stopped);
  EXPECT_GT(stopped, n / 4);
}
