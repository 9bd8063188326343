// Case events: our TensorBoard records against those of torch's SummaryWriter, byte by byte.
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fstream>
#include <iterator>
#include <unistd.h>

#include "runtime/train/events.h"
#include "tests/golden.h"

namespace {

using Bytes = std::vector<uint8_t>;

Bytes read_all(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw std::runtime_error(path + ": cannot be opened");
  return Bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

Bytes from_hex(const std::string &hex) {
  Bytes b;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    b.push_back((uint8_t)std::stoul(hex.substr(i, 2), nullptr, 16));
  return b;
}

uint32_t crc_of(json_t *record, const char *key) {
  return (uint32_t)std::stoul(golden::text(record, key), nullptr, 16);
}

struct Folder {  // a temporary folder of one file
  char path[64] = "/tmp/ingot_golden_events_XXXXXX";
  Folder() {
    if (!mkdtemp(path))
      throw std::runtime_error("no temporary folder");
  }
  ~Folder() {
    if (!file.empty())
      unlink(file.c_str());
    rmdir(path);
  }
  std::string file;
};

void run(const std::string &path, golden::Report &r) {
  golden::Json root = golden::load_json(path + "/events.json");
  const Bytes file = read_all(path + "/" + golden::text(root.get(), "file"));
  json_t *records = golden::get(root.get(), "records");
  if (json_array_size(records) < 2)
    throw std::runtime_error("events.json lists no scalar records");

  Folder folder;
  ig_events *writer = nullptr;
  const double first_time = golden::number(json_array_get(records, 0), "wall_time");
  if (!r.ok("ig_events_open", ig_events_open(folder.path, first_time, &writer)))
    return;
  folder.file = ig_events_path(writer);

  size_t first_scalar = 0;
  for (size_t i = 0; i < json_array_size(records); i++) {
    json_t *record = json_array_get(records, i);
    const std::string name = "record " + std::to_string(i);
    const size_t at = (size_t)golden::number(record, "offset"), n = (size_t)golden::number(record, "length");
    const Bytes expected(file.begin() + (ptrdiff_t)at, file.begin() + (ptrdiff_t)(at + n + 16));
    r.check(name + " length crc", ig_crc32c_masked(&expected[0], 8) == crc_of(record, "length_crc"), "differs");
    r.check(name + " data crc", ig_crc32c_masked(&expected[12], n) == crc_of(record, "data_crc"), "differs");
    const double wall = golden::number(record, "wall_time");
    ig_event_record ours;
    if (golden::has(record, "file_version")) {
      ig_event_encode_version(wall, &ours);
      const Bytes data = from_hex(golden::text(record, "data"));  // ours leaves the optional source_metadata out
      const Bytes message(ours.bytes + 12, ours.bytes + ours.n - 4);
      r.compare(name, message, Bytes(data.begin(), data.begin() + (ptrdiff_t)std::min(data.size(), message.size())),
                {});
      first_scalar = at + n + 16;
      continue;
    }
    json_t *value = json_array_get(golden::get(record, "values"), 0);
    const std::string tag = golden::text(value, "tag");
    const int64_t step = (int64_t)golden::number(record, "step");
    const double scalar = golden::number(value, "simple_value");
    ig_event_encode_scalar(wall, step, tag.c_str(), (float)scalar, &ours);
    r.compare(name, Bytes(ours.bytes, ours.bytes + ours.n), expected, {});
    r.ok(name, ig_events_scalar(writer, wall, step, tag.c_str(), scalar));
  }
  r.ok("ig_events_close", ig_events_close(writer));

  ig_event_record version;
  ig_event_encode_version(first_time, &version);
  Bytes expected(version.bytes, version.bytes + version.n);
  expected.insert(expected.end(), file.begin() + (ptrdiff_t)first_scalar, file.end());
  r.compare("whole file", read_all(folder.file), expected, {});
}

}  // namespace

GOLDEN_CASE("events", run)
