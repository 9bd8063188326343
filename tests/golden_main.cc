// golden_test: compares the library with the reference results under INGOT_GOLDEN (default ../shared/golden beside the
// source). Rule: it is driven by the folders that it finds, and it fails when it compared nothing.
//
//   golden_test [device=cuda] [precision=P] [NAME...]
// All folders, or the named ones; where no folder has that name, those that start with it. device=cuda: what is planned
// by a graph, by hand-written kernels: in fp32 within the tolerances of the CPU, then in tf32, bf16 and fp16 within
// what that rounding explains (each case says how). precision=: that one alone; bf16 on a CPU that has it. Exit: 0 all
// that ran passed, 1 a failure or nothing compared, 2 usage, 77 (ctest: skipped) no reference folder here, or no GPU.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <sys/stat.h>

#include "runtime/device/device.h"
#include "tests/golden.h"
#include "tests/run_graph.h"

namespace golden {
std::vector<Registered> &registry() {
  static std::vector<Registered> cases;  // function-local: registrars of other files run before main in any order
  return cases;
}
}  // namespace golden

namespace {

bool is_dir(const std::string &path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

bool starts_with(const std::string &s, const std::string &prefix) { return s.compare(0, prefix.size(), prefix) == 0; }

std::vector<std::string> folders_of(const std::string &root) {
  std::vector<std::string> names;
  DIR *d = opendir(root.c_str());
  if (!d)
    return names;
  while (const dirent *e = readdir(d)) {
    const std::string name = e->d_name;
    if (name[0] != '.' && name != "make" && is_dir(root + "/" + name))  // make/ holds the generators
      names.push_back(name);
  }
  closedir(d);
  std::sort(names.begin(), names.end());
  return names;
}

const golden::Registered *runner_of(const std::string &folder) {
  const golden::Registered *best = nullptr;
  for (const golden::Registered &c : golden::registry())
    if (starts_with(folder, c.name) && (!best || c.name.size() > best->name.size()))
      best = &c;
  return best;
}

std::string root_folder(bool *by_user) {
  const char *set = getenv("INGOT_GOLDEN");
  *by_user = set && *set;
  if (*by_user)
    return set;
  const char *source = getenv("INGOT_SOURCE");
  return std::string(source && *source ? source : GOLDEN_SOURCE_DIR) + "/../shared/golden";
}

// From now on plans are made on the first GPU, or in bf16 on the CPU. False where that cannot be.
bool use_device(bool cuda, const std::string &precision) {
  ig_device *device = nullptr;
  ig_cuda_options o = {};
  ig_cpu_options c = {};
  o.size = sizeof o;
  o.tf32 = true;
  c.size = sizeof c;
  c.isa = IG_ISA_AMX;
  c.impl_lists = ig_cpu_impl_lists;
  if ((cuda ? ig_device_create_cuda(&o, &device) : ig_device_create_cpu(&c, &device)) != IG_OK)
    return false;
  const ig_device_caps caps = device->caps;
  ig_device_destroy(device);
  const char *const force = cuda ? "cuda" : nullptr;
  std::vector<run_graph::Way> ways;
  auto add = [&](const char *name, bool has, ig_dtype compute, bool tf32) {
    if (has && (precision.empty() || precision == name))
      ways.push_back({name, IG_ISA_AMX, force, cuda, compute, tf32});
    else if (!has)
      printf("%s: %s does not compute in it\n", name, caps.name);
  };
  add("fp32", true, IG_F32, false);
  add("tf32", cuda && caps.tf32, IG_F32, true);
  add("bf16", caps.bf16, IG_BF16, false);
  add("fp16", cuda, IG_F16, false);
  run_graph::chosen() = ways;
  return !ways.empty() ||
         ig_fail(IG_ERR_UNSUPPORTED, "precision=%s: %s does not compute in it", precision.c_str(), caps.name) == IG_OK;
}

}  // namespace

int main(int argc, char **argv) {
  bool by_user = false;
  const bool cuda = argc > 1 && !strcmp(argv[1], "device=cuda");
  argc -= cuda;
  argv += cuda;
  const bool one = argc > 1 && starts_with(argv[1], "precision=");
  const std::string precision = one ? strchr(argv[1], '=') + 1 : "";
  argc -= one;
  argv += one;
  const std::string root = root_folder(&by_user);
  if (argc > 1 && argv[1][0] == '-') {
    fprintf(stderr,
            "usage: golden_test [device=cuda] [precision=fp32|tf32|bf16|fp16] [NAME...]  (reference folders of %s)\n",
            root.c_str());
    return !strcmp(argv[1], "--help") ? 0 : 2;
  }
  if ((cuda || one) && !use_device(cuda, precision)) {
    printf("skipped: %s\n", ig_error_message());
    return 77;
  }
  if (!is_dir(root)) {
    printf("%s: no such folder; set INGOT_GOLDEN to the reference results\n", root.c_str());
    return by_user ? 1 : 77;
  }
  std::vector<std::string> folders = folders_of(root);
  if (argc > 1) {
    std::vector<std::string> chosen;
    for (int i = 1; i < argc; i++) {
      const std::string wanted = argv[i];
      const bool exact = std::find(folders.begin(), folders.end(), wanted) != folders.end();
      bool any = false;
      for (const std::string &f : folders)
        if (exact ? f == wanted : starts_with(f, wanted)) {
          any = true;
          if (std::find(chosen.begin(), chosen.end(), f) == chosen.end())
            chosen.push_back(f);
        }
      if (!any) {
        fprintf(stderr, "golden_test: no folder in %s is called %s\n", root.c_str(), argv[i]);
        return 2;
      }
    }
    folders = chosen;
  }

  size_t n_passed = 0, n_failed = 0, n_skipped = 0, n_tensors = 0, n_values = 0;
  for (const std::string &folder : folders) {
    const golden::Registered *c = runner_of(folder);
    if (!c) {
      printf("%-32s skipped (no runner: %s)\n", folder.c_str(), folder.c_str());
      n_skipped++;
      continue;
    }
    if ((cuda || one) && !c->on_device) {
      printf("%-32s skipped (nothing of it runs on a device)\n", folder.c_str());
      n_skipped++;
      continue;
    }
    golden::Report r;
    std::string skipped;
    const auto start = std::chrono::steady_clock::now();
    try {
      c->run(root + "/" + folder, r);
      if (r.values == 0)
        r.fail("compared nothing");
    } catch (const golden::Skip &s) {
      skipped = s.what();
    } catch (const std::exception &e) {
      r.fail(std::string("stopped: ") + e.what());
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    n_tensors += r.tensors, n_values += r.values;
    if (!skipped.empty() && r.failures == 0) {
      printf("%-32s skipped (%s)\n", folder.c_str(), skipped.c_str());
      n_skipped++;
      continue;
    }
    printf("%-32s %s  %zu tensors (%zu values), largest deviation %.3g of the tolerance%s%s, %.2f s\n", folder.c_str(),
           r.failures ? "FAILED" : "passed", r.tensors, r.values, std::max(r.worst, 0.0), r.worst > 0 ? " in " : "",
           r.worst > 0 ? r.worst_name.c_str() : "", seconds);
    for (const std::string &m : r.messages)
      printf("  %s: %s\n", folder.c_str(), m.c_str());
    if (r.failures > r.messages.size())
      printf("  %s: and %zu more\n", folder.c_str(), r.failures - r.messages.size());
    (r.failures ? n_failed : n_passed)++;
    fflush(stdout);
  }
  if (n_values == 0)
    printf("nothing was compared in %s: this is a failure\n", root.c_str());
  printf("%zu passed, %zu failed, %zu skipped\n", n_passed, n_failed, n_skipped);
  return n_failed || n_values == 0 ? 1 : 0;
}
