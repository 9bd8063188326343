// floor: ig_base
// The key table: parsing, precedence, YAML, listings. Rule: a refusal is tested by what its message tells the user.
#include "runtime/base/config.h"

#include <clocale>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>
#include <vector>

#include "runtime/base/mem.h"
#include "runtime/base/rng.h"

namespace fs = std::filesystem;

namespace {

const char *const verbs[] = {"train", "eval"};
enum : uint64_t { TRAIN = 1, EVAL = 2, BOTH = 3 };

const ig_key keys[] = {
    {"config", IG_KEY_CONFIG, "", nullptr, BOTH, "file of keys", nullptr, 0, 0, 0},
    {"model", IG_KEY_STRING, "", nullptr, BOTH, "network", nullptr, 0, 0, 0},
    {"batch", IG_KEY_INT, "samples", "32", BOTH, "samples a step", nullptr, 1, 65536, 0},
    {"threads", IG_KEY_INT, "", "auto", BOTH, "threads", "auto", 1, 4096, IG_KEY_MAY_CHANGE},
    {"lr", IG_KEY_FLOAT, "", "1e-3", TRAIN, "learning rate", nullptr, 0, INFINITY, IG_KEY_MIN_OPEN},
    {"dropout", IG_KEY_FLOAT, "", "0", TRAIN, "share dropped", nullptr, 0, 1, IG_KEY_MAX_OPEN},
    {"label_smoothing", IG_KEY_FLOAT, "", nullptr, TRAIN, "share | moved", nullptr, 0, 1, 0},
    {"nesterov", IG_KEY_BOOL, "", "0", TRAIN, "look ahead", nullptr, 0, 0, 0},
    {"json", IG_KEY_BOOL, "", "0", BOTH, "result as JSON", nullptr, 0, 0, IG_KEY_NOT_SAVED},
    {"optimizer", IG_KEY_ENUM, "", "sgd", TRAIN, "update rule", "sgd|adam|adamw", 0, 0, 0},
    {"memory", IG_KEY_SIZE, "bytes", nullptr, TRAIN, "budget", nullptr, 1 << 20, INFINITY, 0},
    {"save_every", IG_KEY_DURATION, "steps or time", "10m", TRAIN, "between checkpoints", nullptr, 0, 0, 0},
    {"time_limit", IG_KEY_DURATION, "seconds", nullptr, TRAIN, "stop after", nullptr, 0, 0, 0},
    {"betas", IG_KEY_FLOATS, "", "0.9,0.999", TRAIN, "decays", nullptr, 0, 1, IG_KEY_MAX_OPEN},
    {"freeze", IG_KEY_LIST, "", nullptr, TRAIN, "patterns", "none", 0, 0, 0},
    {"logits", IG_KEY_STRING, "", nullptr, EVAL, "file of outputs", nullptr, 0, 0, 0},
    {"part", IG_KEY_ENUM, "", "test", EVAL, "part of the data", "train|val|test|all", 0, 0, 0},
};
const ig_key_table table = {keys, sizeof keys / sizeof *keys, verbs, 2};

std::string message() { return ig_error_message(); }
bool says(const std::string &part) { return message().find(part) != std::string::npos; }

struct Config {
  explicit Config(const char *verb = "train") { EXPECT_EQ(ig_config_create(&c, &table, verb), IG_OK) << message(); }
  ~Config() { ig_config_destroy(c); }
  Config(const Config &) = delete;
  operator ig_config *() { return c; }
  ig_status args(std::vector<const char *> words) { return ig_config_args(c, (int)words.size(), words.data()); }
  ig_status yaml(const std::string &text) { return ig_config_load_text(c, text.data(), text.size(), "t.yaml"); }
  std::string str(const char *name) {
    const char *s = ig_config_str(c, name);
    return s ? s : "(none)";
  }
  std::string written() {
    char *text = nullptr;
    EXPECT_EQ(ig_config_yaml(c, &text), IG_OK) << message();
    std::string s = text ? text : "";
    ig_free(text);
    return s;
  }
  size_t differences(Config &other) {
    ig_config_change *changes;
    size_t n;
    EXPECT_EQ(ig_config_diff(c, other.c, &changes, &n), IG_OK) << message();
    ig_free(changes);
    return n;
  }
  ig_config *c = nullptr;
};

class ConfigFiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (fs::temp_directory_path() / "ig_config_XXXXXX").string();
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    root = pattern;
  }
  void TearDown() override { fs::remove_all(root); }
  std::string put(const std::string &name, const std::string &text) {
    std::ofstream(root + "/" + name, std::ios::binary) << text;
    return root + "/" + name;
  }
  std::string root;
};

TEST(Config, DefaultsAndGetters) {
  Config c;
  EXPECT_EQ(ig_config_int(c, "batch"), 32);
  EXPECT_TRUE(ig_config_is(c, "threads", "auto"));
  EXPECT_EQ(ig_config_int(c, "threads"), 0);
  EXPECT_DOUBLE_EQ(ig_config_float(c, "lr"), 1e-3);
  EXPECT_EQ(ig_config_choice(c, "optimizer"), 0);
  EXPECT_DOUBLE_EQ(ig_config_duration(c, "save_every").seconds, 600);
  size_t n;
  const double *betas = ig_config_floats(c, "betas", &n);
  ASSERT_EQ(n, 2u);
  EXPECT_DOUBLE_EQ(betas[1], 0.999);
  EXPECT_FALSE(ig_config_has_value(c, "model"));
  EXPECT_TRUE(ig_config_has_value(c, "batch"));
  EXPECT_FALSE(ig_config_is_set(c, "batch"));
  EXPECT_TRUE(ig_config_known(c, "lr"));
  EXPECT_FALSE(ig_config_known(c, "logits"));
  EXPECT_STREQ(ig_config_where(c, "batch"), "default");
  ig_config *none;
  EXPECT_EQ(ig_config_create(&none, &table, "trian"), IG_ERR_USAGE);
  EXPECT_TRUE(says("trian") && says("did you mean train?")) << message();
}

TEST(Config, CommandLineForms) {
  Config c;
  ASSERT_EQ(c.args({"a.png", "batch=8", "--lr", "0.5", "--label-smoothing=0.1", "--nesterov", "-", "--json", "1",
                    "freeze=conv1.*,bn*", "./x=y.png", "dir/k=v", "--", "--lr", "batch=9"}),
            IG_OK)
      << message();
  EXPECT_EQ(ig_config_int(c, "batch"), 8);
  EXPECT_DOUBLE_EQ(ig_config_float(c, "lr"), 0.5);
  EXPECT_DOUBLE_EQ(ig_config_float(c, "label_smoothing"), 0.1);
  EXPECT_TRUE(ig_config_bool(c, "nesterov"));
  EXPECT_TRUE(ig_config_bool(c, "json"));
  size_t n;
  const char *const *items = ig_config_list(c, "freeze", &n);
  ASSERT_EQ(n, 2u);
  EXPECT_STREQ(items[0], "conv1.*");
  EXPECT_STREQ(items[1], "bn*");
  std::vector<std::string> paths;
  for (size_t i = 0; i < ig_config_n_paths(c); i++)
    paths.push_back(ig_config_path(c, i));
  EXPECT_EQ(paths, (std::vector<std::string>{"a.png", "-", "./x=y.png", "dir/k=v", "--lr", "batch=9"}));
  EXPECT_STREQ(ig_config_where(c, "lr"), "command line");
  EXPECT_EQ(ig_config_source_of(c, "lr"), IG_FROM_COMMAND_LINE);
  ASSERT_EQ(c.args({"batch=9", "--no", "0"}), IG_ERR_USAGE);
  Config d;
  ASSERT_EQ(d.args({"batch=8", "batch=9", "freeze=none", "--nesterov", "a.png", "model="}), IG_OK) << message();
  EXPECT_EQ(ig_config_int(d, "batch"), 9);
  EXPECT_EQ(ig_config_n_paths(d), 1u);
  ig_config_list(d, "freeze", &n);
  EXPECT_EQ(n, 0u);
  EXPECT_EQ(ig_config_choice(d, "freeze"), 0);
  EXPECT_EQ(d.str("model"), "");
}

struct Refusal {
  const char *word;
  std::vector<const char *> told;
};

TEST(Config, CommandLineRefusals) {
  const Refusal cases[] = {
      {"bacth=8", {"unknown key", "\"bacth\"", "did you mean batch?", "ingot keys train"}},
      {"learning_rat=8", {"unknown key"}},
      {"batch=abc", {"command line", "batch", "\"abc\"", "an integer, 1 to 65536"}},
      {"batch=0", {"batch is \"0\"", "1 to 65536"}},
      {"batch=65537", {"1 to 65536"}},
      {"batch=8.5", {"an integer"}},
      {"batch=", {"batch is \"\""}},
      {"batch= 8", {"an integer"}},
      {"batch=99999999999999999999", {"an integer"}},
      {"batch=auto", {"an integer"}},
      {"threads=0", {"or auto"}},
      {"lr=0", {"a number, above 0"}},
      {"lr=-1", {"above 0"}},
      {"lr=nan", {"\"nan\""}},
      {"lr=inf", {"\"inf\""}},
      {"lr=1e400", {"a number"}},
      {"lr=0x10", {"a number"}},
      {"lr=1,5", {"a number"}},
      {"dropout=1", {"from 0, below 1"}},
      {"nesterov=maybe", {"0 or 1"}},
      {"optimizer=adamv", {"one of sgd, adam, adamw", "did you mean adam"}},
      {"optimizer=", {"one of"}},
      {"memory=12parsecs", {"a size such as 2GiB"}},
      {"memory=-1GiB", {"a size"}},
      {"memory=1KiB", {"1MiB or more"}},
      {"memory=99999999999TiB", {"a size"}},
      {"save_every=10y", {"a duration such as 30s", "number of steps"}},
      {"save_every=1.5", {"a duration"}},
      {"betas=0.9,1", {"numbers separated by commas"}},
      {"betas=0.9,", {"numbers"}},
      {"freeze=a,,b", {"without empty items"}},
      {"logits=x.npy", {"key logits belongs to `eval`, not to `train`"}},
      {"--lr", {"--lr needs a value"}},
      {"--unknown", {"unknown key"}},
      {"--a.b=1", {"unknown key", "a.b"}},
      {"-x", {"\"-x\"", "key=value"}},
      {"config=/nonexistent/x.yaml", {"/nonexistent/x.yaml", "No such file"}},
      {"batch=\x1b[31mred\n", {"\\x1b[31mred\\x0a"}},
  };
  for (const Refusal &r : cases) {
    Config c;
    ig_status status = c.args({r.word});
    EXPECT_TRUE(status == IG_ERR_USAGE || (status == IG_ERR_NOT_FOUND && !strncmp(r.word, "config", 6))) << r.word;
    for (const char *part : r.told)
      EXPECT_TRUE(says(part)) << r.word << " gives: " << message() << "\n  which lacks: " << part;
  }
  Config c;
  EXPECT_EQ(c.args({"--lr", "--json"}), IG_ERR_USAGE);
  std::string many(100000, 'k');
  EXPECT_EQ(c.args({("lr=" + many).c_str()}), IG_ERR_USAGE);
  EXPECT_LT(message().size(), 400u);
  EXPECT_EQ(c.args({(many + "=1").c_str()}), IG_ERR_USAGE);
  EXPECT_LT(message().size(), 400u);
}

TEST(Config, SizesAndDurations) {
  Config c;
  const std::pair<const char *, uint64_t> sizes[] = {
      {"1048576", 1ull << 20}, {"2GiB", 2ull << 30},   {"2G", 2ull << 30},
      {"500MB", 500000000},    {"1.5GiB", 3ull << 29}, {"9007199254740993", 9007199254740993ull},
      {"4TiB", 4ull << 40},    {"3000KB", 3000000},    {"2097152B", 2ull << 20}};
  for (auto [text, bytes] : sizes) {
    ASSERT_EQ(ig_config_set(c, "memory", text, IG_FROM_COMMAND_LINE, "a test"), IG_OK) << message();
    EXPECT_EQ(ig_config_size(c, "memory"), bytes) << text;
  }
  const std::pair<const char *, double> times[] = {{"30s", 30},  {"500ms", 0.5}, {"10m", 600},  {"5min", 300},
                                                   {"2h", 7200}, {"1d", 86400},  {"1.5h", 5400}};
  for (auto [text, seconds] : times) {
    ASSERT_EQ(ig_config_set(c, "save_every", text, IG_FROM_COMMAND_LINE, "a test"), IG_OK) << message();
    EXPECT_DOUBLE_EQ(ig_config_duration(c, "save_every").seconds, seconds) << text;
    EXPECT_EQ(ig_config_duration(c, "save_every").steps, 0);
  }
  ASSERT_EQ(c.args({"save_every=1000", "time_limit=90"}), IG_OK);
  EXPECT_EQ(ig_config_duration(c, "save_every").steps, 1000);
  EXPECT_EQ(ig_config_duration(c, "save_every").seconds, 0);
  EXPECT_EQ(ig_config_duration(c, "time_limit").seconds, 90);
}

TEST(Config, NumbersIgnoreTheLocale) {
  const char *names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
  bool found = false;
  for (const char *name : names)
    found = found || setlocale(LC_NUMERIC, name);
  if (!found)
    GTEST_SKIP() << "no locale with a decimal comma is installed";
  Config c;
  EXPECT_EQ(c.args({"lr=0.25"}), IG_OK) << message();
  EXPECT_EQ(ig_config_float(c, "lr"), 0.25);
  setlocale(LC_NUMERIC, "C");
}

TEST_F(ConfigFiles, PrecedenceWhateverTheOrder) {
  std::string one = put("one.yaml", "batch: 1\nlr: 1.0\ndropout: 0.1\n");
  std::string two = put("two.yaml", "batch: 2\nlr: 2.0\n");
  Config c;
  ASSERT_EQ(c.args({"lr=3", "--config", one.c_str(), ("config=" + two).c_str()}), IG_OK) << message();
  // The preset is known last (it depends on model=), and is still the weakest but the default.
  const std::pair<const char *, const char *> preset[] = {
      {"batch", "5"}, {"lr", "0.5"}, {"dropout", "0.5"}, {"label_smoothing", "0.5"}};
  for (auto [name, text] : preset)
    ASSERT_EQ(ig_config_set(c, name, text, IG_FROM_PRESET, "preset x"), IG_OK);
  EXPECT_EQ(ig_config_float(c, "lr"), 3);
  EXPECT_EQ(ig_config_int(c, "batch"), 2);
  EXPECT_EQ(ig_config_float(c, "dropout"), 0.1);
  EXPECT_EQ(ig_config_float(c, "label_smoothing"), 0.5);
  EXPECT_EQ(ig_config_where(c, "batch"), two + ":1:8");
  EXPECT_STREQ(ig_config_where(c, "label_smoothing"), "preset x");
  EXPECT_TRUE(ig_config_is_set(c, "label_smoothing"));
  EXPECT_EQ(ig_config_set(c, "lr", "-1", IG_FROM_PRESET, "preset x"),
            IG_ERR_USAGE);  // wrong even where it would not hold
  EXPECT_TRUE(says("preset x: lr is \"-1\"")) << message();
}

TEST(Config, YamlForms) {
  Config c;
  ASSERT_EQ(c.yaml("# a comment\n---\nmodel: 'a: b # c'\nbatch: \"16\"\nlabel-smoothing: 0.1\nnesterov: yes\n"
                   "freeze: [conv1, \"a,b\"]\nbetas:\n  - 0.8\n  - 0.9\nsave_every: 30s\n"),
            IG_OK)
      << message();
  EXPECT_EQ(c.str("model"), "a: b # c");
  EXPECT_EQ(ig_config_int(c, "batch"), 16);
  EXPECT_TRUE(ig_config_bool(c, "nesterov"));
  EXPECT_DOUBLE_EQ(ig_config_float(c, "label_smoothing"), 0.1);
  size_t n;
  const char *const *items = ig_config_list(c, "freeze", &n);
  ASSERT_EQ(n, 2u);
  EXPECT_STREQ(items[1], "a,b");
  EXPECT_EQ(ig_config_floats(c, "betas", &n)[0], 0.8);
  ASSERT_EQ(c.yaml("freeze: a*,b*\nbetas: []\n"), IG_OK) << message();
  ig_config_list(c, "freeze", &n);
  EXPECT_EQ(n, 2u);
  ig_config_floats(c, "betas", &n);
  EXPECT_EQ(n, 0u);
  for (const char *empty : {"", "# only a comment\n", "---\n", "{}", "\xef\xbb\xbf",
                            "\xef\xbb\xbf"
                            "batch: 3\r\n"})
    EXPECT_EQ(c.yaml(empty), IG_OK) << empty << message();
  EXPECT_EQ(ig_config_int(c, "batch"), 3);
}

TEST(Config, YamlRefusals) {
  const Refusal cases[] = {
      {"batch: 8\nbacth: 9\n", {"t.yaml:2:1", "unknown key", "did you mean batch?"}},
      {"batch: 8\nlr: fast\n", {"t.yaml:2:5", "lr is \"fast\"", "a number, above 0"}},
      {"batch: 8\nbatch: 9\n", {"t.yaml:2:1", "twice"}},
      {"label_smoothing: 0\nlabel-smoothing: 0\n", {"t.yaml:2:1", "twice"}},
      {"model: &a x\n", {"t.yaml:1:8", "anchors"}},
      {"model: *a\n", {"t.yaml:1:8", "aliases"}},
      {"model: !!python/object x\n", {"t.yaml:1:8", "tags"}},
      {"&a {batch: 1}\n", {"anchors"}},
      {"model:\n  name: x\n", {"t.yaml:2:3", "nested mapping"}},
      {"freeze: [a, [b]]\n", {"t.yaml:1:13", "plain value"}},
      {"freeze: [{a: b}]\n", {"plain value"}},
      {"batch: [1]\n", {"t.yaml:1:8", "batch is a sequence"}},
      {"batch:\n", {"t.yaml:1:7", "missing"}},
      {"model: ~\n", {"missing"}},
      {"model: null\n", {"missing"}},
      {"config: x.yaml\n", {"command line only"}},
      {"- batch\n", {"key: value"}},
      {"just words\n", {"key: value"}},
      {"[a]: b\n", {"plain name"}},
      {"batch: 1\n---\nbatch: 2\n", {"t.yaml:2:1", "second document"}},
      {"%TAG ! tag:x,2000:\n---\nbatch: 1\n", {"TAG"}},
      {"batch: \"1\n", {"t.yaml", "not valid YAML"}},
      {"batch: {\n", {"nested mapping"}},
      {"model: \"a\\0b\"\n", {"NUL"}},
      {"model: \xff\xfe\n", {"t.yaml", "not valid YAML"}},
      {"\tbatch: 1\n", {"not valid YAML"}},
      {"logits: x\n", {"belongs to `eval`"}},
  };
  for (const Refusal &r : cases) {
    Config c;
    ig_status status = c.yaml(r.word);
    EXPECT_TRUE(status == IG_ERR_USAGE || status == IG_ERR_FORMAT) << r.word;
    for (const char *part : r.told)
      EXPECT_TRUE(says(part)) << r.word << " gives: " << message() << "\n  which lacks: " << part;
  }
  Config c;
  EXPECT_EQ(c.yaml("model: " + std::string((1 << 20), 'x')), IG_ERR_FORMAT);
  EXPECT_TRUE(says("1048576"));
  EXPECT_EQ(c.yaml("model: " + std::string(500000, '[')), IG_ERR_FORMAT);  // a nesting bomb stops at its second level
  std::string items = "freeze: [a";
  for (int i = 0; i < 5000; i++)
    items += ",a";
  EXPECT_EQ(c.yaml(items + "]"), IG_ERR_FORMAT);
  EXPECT_TRUE(says("4096"));
}

TEST_F(ConfigFiles, LoadRefusesLargeFilesAndFolders) {
  Config c;
  std::string big = put("big.yaml", std::string((1 << 20) + 1, '#'));
  EXPECT_EQ(ig_config_load(c, big.c_str()), IG_ERR_FORMAT);
  EXPECT_TRUE(says(big)) << message();
  EXPECT_EQ(ig_config_load(c, root.c_str()), IG_ERR_FORMAT);
  EXPECT_EQ(ig_config_load(c, (root + "/none").c_str()), IG_ERR_NOT_FOUND);
}

TEST_F(ConfigFiles, SavedFileReadsBackTheSame) {
  Config a;
  ASSERT_EQ(
      a.args({"model=weird \"quoted\"\\ : # \n\ttext\xff\xc3\xa9\xe2\x80\xa8\xf4\x8f\xbf\xbe", "lr=5e-4", "--nesterov",
              "memory=2GiB", "time_limit=90", "freeze=null,~,- x", "betas=0.5", "optimizer=adamw", "--json", "p"}),
      IG_OK)
      << message();
  std::string path = root + "/args.yaml";
  ASSERT_EQ(ig_config_save(a, path.c_str()), IG_OK) << message();
  Config b;
  ASSERT_EQ(ig_config_load(b, path.c_str()), IG_OK) << message() << a.written();
  EXPECT_EQ(a.differences(b), 0u);
  EXPECT_EQ(a.written(), b.written());
  EXPECT_EQ(a.str("model"), b.str("model"));
  EXPECT_FALSE(ig_config_bool(b, "json"));
  EXPECT_EQ(a.written().find("json"), std::string::npos);
}

TEST(Config, AnyTextReadsBackTheSame) {
  ig_rng r = ig_rng_make(7, 0, 0);
  for (int round = 0; round < 3000; round++) {
    Config a, b;
    std::string text;
    uint32_t n = ig_rng_below(&r, 40);
    for (uint32_t i = 0; i < n; i++) {
      static const char *const pieces[] = {
          "\xf4\x8f\xbe\x80", "\xe2\x80\xa9", "\xef\xbb\xbf", "\xc2\x85", ": ", " #", "\"", "\\", "\r\n", "%",
          "\xed\xa0\x80"};
      if (ig_rng_below(&r, 3) == 0)
        text += pieces[ig_rng_below(&r, 11)];
      else
        text += (char)(1 + ig_rng_below(&r, 255));
    }
    ASSERT_EQ(ig_config_set(a, "model", text.c_str(), IG_FROM_COMMAND_LINE, "a test"), IG_OK);
    std::string list = "x" + text + "y";
    bool is_list = ig_config_set(a, "freeze", list.c_str(), IG_FROM_COMMAND_LINE, "a test") == IG_OK;
    ASSERT_EQ(b.yaml(a.written()), IG_OK) << message() << "\n" << a.written();
    ASSERT_EQ(b.str("model"), text);
    ASSERT_TRUE(!is_list || b.str("freeze") == list);
    ASSERT_EQ(a.differences(b), 0u);
  }
}

TEST(Config, DamagedYamlNeverHarms) {
  Config good;
  ASSERT_EQ(good.args({"model=resnet18", "freeze=a,b", "memory=2GiB", "lr=0.1"}), IG_OK);
  const std::string text = good.written();
  ig_rng r = ig_rng_make(8, 0, 0);
  int accepted = 0;
  int64_t live = ig_mem_live();
  for (int round = 0; round < 4000; round++) {
    std::string bad = text;
    for (uint32_t k = 0; k < 1 + ig_rng_below(&r, 3); k++) {
      size_t at = ig_rng_below(&r, (uint32_t)bad.size());
      switch (ig_rng_below(&r, 4)) {
        case 0:
          bad[at] = (char)ig_rng_below(&r, 256);
          break;
        case 1:
          bad.erase(at, 1 + ig_rng_below(&r, 8));
          break;
        case 2:
          bad.insert(at, 1, "{}[]&*!|>'\"%@:#-,?\n\t "[ig_rng_below(&r, 22)]);
          break;
        default:
          bad.resize(at + 1);
      }
    }
    Config c, again;
    if (c.yaml(bad) != IG_OK) {
      ASSERT_TRUE(says("t.yaml")) << message();
      continue;
    }
    accepted++;
    ASSERT_EQ(again.yaml(c.written()), IG_OK) << message();
    ASSERT_EQ(c.differences(again), 0u);
  }
  EXPECT_GT(accepted, 50);
  EXPECT_EQ(ig_mem_live(), live);
}

TEST(Config, DiffComparesMeaning) {
  Config a, b;
  ASSERT_EQ(a.args({"lr=1e-3", "memory=1GiB", "save_every=60s", "nesterov=true", "betas=0.90,0.999", "--json"}), IG_OK);
  ASSERT_EQ(b.args({"lr=0.001", "memory=1024MiB", "save_every=1m", "nesterov=1"}), IG_OK);
  EXPECT_EQ(a.differences(b), 0u);
  ASSERT_EQ(b.args({"save_every=60", "model=x", "freeze=a", "threads=2"}), IG_OK);
  ig_config_change *changes;
  size_t n;
  ASSERT_EQ(ig_config_diff(a, b, &changes, &n), IG_OK);
  ASSERT_EQ(n, 4u);
  EXPECT_STREQ(changes[0].key->name, "model");
  EXPECT_EQ(changes[0].a, nullptr);
  EXPECT_STREQ(changes[0].b, "x");
  EXPECT_STREQ(changes[1].key->name, "threads");
  EXPECT_TRUE(changes[1].key->flags & IG_KEY_MAY_CHANGE);
  EXPECT_STREQ(changes[2].key->name, "save_every");
  EXPECT_STREQ(changes[2].a, "60s");
  EXPECT_STREQ(changes[3].key->name, "freeze");
  ig_free(changes);
  Config other("eval");
  EXPECT_EQ(ig_config_diff(a, other, &changes, &n), IG_ERR_INTERNAL);
}

TEST(Config, FaultyTablesAreFound) {
  ig_config *c;
  const ig_key wrong_default[] = {{"batch", IG_KEY_INT, "", "many", 1, "x", nullptr, 0, 0, 0}};
  const ig_key_table a = {wrong_default, 1, verbs, 2};
  EXPECT_EQ(ig_config_create(&c, &a, "train"), IG_ERR_INTERNAL);
  EXPECT_TRUE(says("batch is \"many\"")) << message();
  const ig_key twice[] = {{"batch", IG_KEY_INT, "", nullptr, 3, "x", nullptr, 0, 0, 0},
                          {"batch", IG_KEY_INT, "", nullptr, 1, "x", nullptr, 0, 0, 0}};
  const ig_key_table b = {twice, 2, verbs, 2};
  EXPECT_EQ(ig_config_create(&c, &b, "train"), IG_ERR_INTERNAL);
  EXPECT_TRUE(says("twice")) << message();
  EXPECT_EQ(ig_config_create(&c, &b, "eval"), IG_OK);  // the second is not of this verb
  ig_config_destroy(c);
}

TEST_F(ConfigFiles, EveryFailedAllocationIsClean) {
  std::string file = put("a.yaml", "model: x\nfreeze: [a, b]\nbetas: 0.1,0.2\n");
  std::string argument = "config=" + file, saved = root + "/out.yaml";
  const char *words[] = {argument.c_str(), "lr=0.1", "path", "freeze=a,b,c"};
  int64_t live = ig_mem_live();
  int failures = 0;
  for (int forever = 0; forever < 2; forever++)
    for (int n = 1;; n++) {
      ig_config *c = nullptr, *d = nullptr;
      ig_config_change *changes = nullptr;
      char *text = nullptr, *listing = nullptr;
      size_t n_changes;
      ig_mem_fail_after(n, forever);
      ig_status status = ig_config_create(&c, &table, "train");
      if (status == IG_OK)
        status = ig_config_args(c, 4, words);
      if (status == IG_OK)
        status = ig_config_create(&d, &table, "train");
      if (status == IG_OK)
        status = ig_config_diff(c, d, &changes, &n_changes);
      if (status == IG_OK)
        status = ig_config_save(c, saved.c_str());
      if (status == IG_OK)
        status = ig_keys_markdown(&table, &text);
      if (status == IG_OK)
        status = ig_keys_text(&table, "eval", &listing);
      ig_mem_fail_after(0, 0);
      ig_config_destroy(c);
      ig_config_destroy(d);
      ig_free(changes);
      ig_free(text);
      ig_free(listing);
      ASSERT_EQ(ig_mem_live(), live) << "allocation " << n;
      if (status == IG_OK)
        break;
      failures++;
      ASSERT_EQ(status, IG_ERR_MEMORY) << n << message();
    }
  EXPECT_GT(failures, 100);
}

TEST(Keys, Listings) {
  char *text, range[96], type[256];
  ASSERT_EQ(ig_keys_text(&table, "train", &text), IG_OK);
  std::string s = text;
  ig_free(text);
  for (const ig_key &key : keys)
    EXPECT_EQ(s.find(std::string("\n") + key.name + " ") != std::string::npos, (key.verbs & TRAIN) != 0) << key.name;
  EXPECT_NE(s.find("[sgd|adam|adamw] update rule"), std::string::npos) << s;
  EXPECT_NE(s.find("[int|auto, 1 to 4096] threads"), std::string::npos) << s;
  ASSERT_EQ(ig_keys_text(&table, nullptr, &text), IG_OK);
  EXPECT_NE(strstr(text, "\nlogits "), nullptr);
  EXPECT_NE(strstr(text, "\nlr "), nullptr);
  ig_free(text);
  EXPECT_EQ(ig_keys_text(&table, "evla", &text), IG_ERR_USAGE);
  ASSERT_EQ(ig_keys_markdown(&table, &text), IG_OK);
  s = text;
  ig_free(text);
  EXPECT_NE(s.find("\n## eval\n"), std::string::npos);
  EXPECT_NE(s.find("| `optimizer` | sgd\\|adam\\|adamw |  | `sgd` | update rule |\n"), std::string::npos) << s;
  EXPECT_NE(s.find("share \\| moved"), std::string::npos);
  ig_key_range_text(&keys[10], range);
  EXPECT_STREQ(range, "1MiB or more");
  ig_key_type_text(&keys[7], type);
  EXPECT_STREQ(type, "0|1");
}

}  // namespace
