// The kernels that nvcc embedded in the program: registered by constructors, read when first asked for. Rule: what runs
// before our own constructors touches plain memory only.
#include <algorithm>
#include <cstdio>
#include <cuda_runtime.h>
#include <set>

#include "tests/sim/runtime.h"

namespace sim {

namespace {

struct Registered {
  const void *host;
  const char *name;
  size_t bytes;
  bool variable;
  void *image;
};
constexpr int MAX_IMAGES = 1024, MAX_NAMES = 1 << 16;
void *images[MAX_IMAGES];
int n_images;
Registered names[MAX_NAMES];
int n_names;

struct Loaded {
  std::map<const void *, Module *> image;  // registered wrapper -> module
  std::unordered_map<const void *, std::pair<std::string, Module *>> functions;
  std::unordered_map<const void *, std::pair<std::string, size_t>> variables;
  std::unordered_map<const void *, Module *> home;
  std::vector<Module *> modules;
};
Loaded &loaded() {
  static Loaded *l = new Loaded;
  return *l;
}

// A fat binary: header {magic, version, header size, bytes}, then entries {kind, ..., header size, size}; kind 1 is
// PTX.
Module *read_image(void *wrapper) {
  const char *p = *(const char **)((char *)wrapper + 8);
  u16 header;
  u64 bytes;
  memcpy(&header, p + 6, 2);
  memcpy(&bytes, p + 8, 8);
  const char *end = p + header + bytes;
  Module *m = new Module;
  for (p += header; p < end;) {
    u16 kind;
    u32 skip;
    u64 size;
    memcpy(&kind, p, 2);
    memcpy(&skip, p + 4, 4);
    memcpy(&size, p + 8, 8);
    if (kind == 1) {
      std::string text(p + skip, strnlen(p + skip, size));
      size_t version = text.find(".version");
      if (version == std::string::npos)
        fprintf(stderr, "sim: the PTX is compressed: compile with nvcc --no-compress\n");
      else if (m->text.empty())
        m->text = text;
    }
    p += skip + size;
  }
  index_module(*m);
  return m;
}

void load() {
  static int done_images = 0, done_names = 0;
  Loaded &l = loaded();
  for (; done_images < n_images; done_images++)
    l.modules.push_back(l.image[images[done_images]] = read_image(images[done_images]));
  for (; done_names < n_names; done_names++) {
    Registered &r = names[done_names];
    if (r.variable)
      l.variables[r.host] = {r.name, r.bytes};
    else
      l.functions[r.host] = {r.name, l.image[r.image]};
    l.home[r.host] = l.image[r.image];
  }
}

std::string mutated_kernel;
int mutated_number = -1;
std::unique_ptr<Function> mutated;

}  // namespace

const std::string *kernel_name(const void *host, Module **m) {
  load();
  auto i = loaded().functions.find(host);
  if (i == loaded().functions.end())
    return nullptr;
  *m = i->second.second;
  return &i->second.first;
}

Function *find_function(Module *m, const std::string &name) {
  if (mutated_number >= 0 && name == mutated_kernel) {
    if (!mutated)
      mutated = parse_function(*m, name, mutated_number);
    return mutated.get();
  }
  auto &f = m->ready[name];
  if (!f) {
    auto x = m->functions.find(name);
    if (x == m->functions.end() || !x->second.entry)
      return nullptr;
    f = parse_function(*m, name, -1);
    for (auto &u : f->unknown)
      fprintf(stderr, "sim: %s: not known: %s (%d times)\n", f->pretty.c_str(), u.first.c_str(), u.second);
  }
  return f.get();
}

// The kernel with this name, or the only one whose name contains it.
static Function *named(const char *kernel, Module **home) {
  load();
  Module *found = nullptr;
  std::string name;
  for (Module *m : loaded().modules)
    for (auto &f : m->functions) {
      if (!f.second.entry || f.first.find(kernel) == std::string::npos)
        continue;
      if (found && name != kernel && f.first != kernel)
        continue;
      found = m;
      name = f.first;
    }
  *home = found;
  if (!found)
    return nullptr;
  auto &f = found->ready[name];
  if (!f)
    f = parse_function(*found, name, -1);
  return f.get();
}

u64 variable_address(const void *host, size_t *bytes) {
  load();
  Loaded &l = loaded();
  auto i = l.variables.find(host);
  if (i == l.variables.end())
    return 0;
  Module *m = l.home[host];
  auto g = m->globals.find(i->second.first);
  if (g == m->globals.end())
    return 0;
  *bytes = g->second.bytes;
  return g->second.address;
}

void parse_all(std::map<std::string, int> &unknown) {
  load();
  for (Module *m : loaded().modules)
    for (auto &f : m->functions)
      if (f.second.entry) {
        auto &r = m->ready[f.first];
        if (!r)
          r = parse_function(*m, f.first, -1);
        for (auto &u : r->unknown)
          unknown[u.first] += u.second;
      }
}

static bool mutant_ran;
void mark_mutant_ran() { __atomic_store_n(&mutant_ran, true, __ATOMIC_RELAXED); }

}  // namespace sim

using namespace sim;

extern "C" {

const char *ig_sim_kernel(int k) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  static std::set<std::string> *names;
  if (!names) {
    load();
    names = new std::set<std::string>;
    for (Module *m : loaded().modules)
      for (auto &f : m->functions)
        if (f.second.entry)
          names->insert(f.first);
  }
  return k >= 0 && (size_t)k < names->size() ? std::next(names->begin(), k)->c_str() : nullptr;
}

int ig_sim_mutants(const char *kernel) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  Module *m;
  Function *f = named(kernel, &m);
  return f ? f->mutants : -1;
}

int ig_sim_mutate(const char *kernel, int k) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  wait_all();
  mutated.reset();
  mutated_number = -1;
  mutant_ran = false;
  if (!kernel)
    return 0;
  Module *m;
  Function *f = named(kernel, &m);
  if (!f || k < 0 || k >= f->mutants)
    return -1;
  mutated_kernel = f->name;
  mutated_number = k;
  return 0;
}

int ig_sim_mutant_text(const char *kernel, int k, char *text, size_t size) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  Module *m;
  Function *f = named(kernel, &m);
  if (!f || k < 0 || k >= f->mutants)
    return -1;
  auto x = parse_function(*m, f->name, k);
  return snprintf(text, size, "%s", x->mutant_text.c_str());
}

int ig_sim_mutant_ran(void) { return __atomic_load_n(&mutant_ran, __ATOMIC_RELAXED); }

int ig_sim_unknown(char *text, size_t size) {
  std::lock_guard<std::recursive_mutex> hold(runtime().lock);
  std::map<std::string, int> u;
  parse_all(u);
  std::string s;
  int n = 0;
  for (auto &x : u) {
    s += x.first + " x" + std::to_string(x.second) + "\n";
    n += x.second;
  }
  if (text && size)
    snprintf(text, size, "%s", s.c_str());
  return n;
}

// What nvcc's host code calls before main.
void **__cudaRegisterFatBinary(void *wrapper) {
  if (n_images == MAX_IMAGES)
    abort();
  images[n_images] = wrapper;
  return &images[n_images++];
}
void __cudaRegisterFatBinaryEnd(void **) {}
void __cudaUnregisterFatBinary(void **) {}
char __cudaInitModule(void **) { return 1; }
void __cudaRegisterFunction(void **image, const char *host, char *, const char *name, int, uint3 *, uint3 *, dim3 *,
                            dim3 *, int *) {
  if (n_names == MAX_NAMES)
    abort();
  names[n_names++] = {host, name, 0, false, *image};
}
void __cudaRegisterVar(void **image, char *host, char *, const char *name, int, size_t bytes, int, int) {
  if (n_names == MAX_NAMES)
    abort();
  names[n_names++] = {host, name, bytes, true, *image};
}

}  // extern "C"
