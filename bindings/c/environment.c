// Where a call runs: processor, memory, libraries. Rule: versions are those that run, asked of the libraries.
#include <hdf5.h>
#include <openssl/crypto.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <tiffio.h>
#include <time.h>
#include <unistd.h>
#include <webp/decode.h>
#include <yaml.h>
// jpeglib.h needs stdio.h before it.
#include <jpeglib.h>

#include "bindings/c/call.h"
#include "kernels/kernels.h"
#include "runtime/base/cpu.h"
#include "runtime/base/mem.h"

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)

static json_t *libraries_json(void) {
  char text[64], line[96];
  unsigned major = 0, minor = 0, release = 0;
  json_t *libraries = json_object();
  // "oneDNN 2.6.3, ...": name and version a comma
  snprintf(line, sizeof line, "%s", ig_cpu_libraries());
  char *rest = line;
  for (char *one = strtok_r(line, ",", &rest); one; one = strtok_r(NULL, ",", &rest)) {
    one += strspn(one, " ");
    char *space = strchr(one, ' ');
    if (space)
      *space = 0;
    json_object_set_new(libraries, one, json_string(space ? space + 1 : ""));
  }
  H5get_libversion(&major, &minor, &release);
  snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
  json_object_set_new(libraries, "HDF5", json_string(text));
#ifdef LIBJPEG_TURBO_VERSION
  json_object_set_new(libraries, "libjpeg-turbo", json_string(TEXT(LIBJPEG_TURBO_VERSION)));
#else
  json_object_set_new(libraries, "libjpeg", json_string(TEXT(JPEG_LIB_VERSION)));
#endif
  json_object_set_new(libraries, "libpng", json_string(png_get_libpng_ver(NULL)));
  const char *tiff = TIFFGetVersion();  // "LIBTIFF, Version 4.5.0\nCopyright ..."
  const char *number = strstr(tiff, "Version ");
  number = number ? number + strlen("Version ") : tiff;
  snprintf(text, sizeof text, "%.*s", (int)strcspn(number, "\n"), number);
  json_object_set_new(libraries, "libtiff", json_string(text));
  int webp = WebPGetDecoderVersion();
  snprintf(text, sizeof text, "%d.%d.%d", webp >> 16, webp >> 8 & 255, webp & 255);
  json_object_set_new(libraries, "libwebp", json_string(text));
  json_object_set_new(libraries, "jansson", json_string(jansson_version_str()));
  json_object_set_new(libraries, "libyaml", json_string(yaml_get_version_string()));
  const char *crypto = OpenSSL_version(OPENSSL_VERSION);  // "OpenSSL 3.0.11 19 Sep 2023"
  crypto += strncmp(crypto, "OpenSSL ", 8) == 0 ? 8 : 0;
  snprintf(text, sizeof text, "%.*s", (int)strcspn(crypto, " "), crypto);
  json_object_set_new(libraries, "OpenSSL", json_string(text));
  return libraries;
}

ig_status ig_environment_json(json_t **out) {
  char model[128], host[256] = "", start[40];
  struct utsname os;
  struct tm now_parts;
  time_t now = time(NULL);
  ig_cpu_model(model, sizeof model);
  gethostname(host, sizeof host - 1);
  memset(&os, 0, sizeof os);
  uname(&os);
  gmtime_r(&now, &now_parts);
  strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%SZ", &now_parts);
  ig_isa isa = ig_isa_detect();
  *out = json_pack("{s:s, s:s, s:s, s:o, s:s, s:s, s:s, s:i, s:b, s:I, s:o}", "version", ig_version(), "git",
                   ig_git_hash(), "start", start, "host", ig_json_text(host), "os", os.sysname, "release", os.release,
                   "isa", ig_isa_name(isa), "threads", ig_cpu_threads(), "bf16", (int)(isa >= IG_ISA_AVX512_BF16),
                   "memory", (json_int_t)ig_memory_limit(), "libraries", libraries_json());
  if (!*out || json_object_set_new(*out, "processor", ig_json_text(model)) ||
      json_object_set_new(*out, "build", json_string(ig_build_text())))
    return ig_no_json();
  return IG_OK;
}

ig_status ig_cache_folder(char **out) {
  const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  *out = NULL;
  if (base && *base == '/')
    return ig_asprintf(out, "%s/ingot", base);
  return home && *home ? ig_asprintf(out, "%s/.cache/ingot", home) : IG_OK;
}
