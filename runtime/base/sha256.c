// SHA-256 by libcrypto. Rule: a failure inside the library gives an empty digest, which equals no digest.
#include <openssl/evp.h>
#include <stddef.h>

#include "runtime/base/fileop.h"
#include "runtime/base/mem.h"

struct ig_sha256 {
  EVP_MD_CTX *md;
  bool failed;
};

static void to_hex(const unsigned char digest[32], char hex[65]) {
  for (int i = 0; i < 32; i++) {
    hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
    hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
  }
  hex[64] = 0;
}

ig_status ig_sha256_create(ig_sha256 **out) {
  IG_TRY(ig_alloc(sizeof **out, "a SHA-256 state", out));
  (*out)->md = EVP_MD_CTX_new();
  if (!(*out)->md || EVP_DigestInit_ex((*out)->md, EVP_sha256(), NULL) != 1) {
    EVP_MD_CTX_free((*out)->md);
    ig_free(*out);
    *out = NULL;
    return ig_fail(IG_ERR_MEMORY, "libcrypto could not start a SHA-256 digest");
  }
  return IG_OK;
}

void ig_sha256_update(ig_sha256 *h, const void *data, size_t n) {
  if (n && EVP_DigestUpdate(h->md, data, n) != 1)
    h->failed = true;
}

void ig_sha256_finish(ig_sha256 *h, char hex[65]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  hex[0] = 0;
  if (EVP_DigestFinal_ex(h->md, digest, NULL) == 1 && !h->failed)
    to_hex(digest, hex);
  EVP_MD_CTX_free(h->md);
  ig_free(h);
}

void ig_sha256_hex(const void *data, size_t n, char hex[65]) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  hex[0] = 0;
  if (EVP_Digest(data, n, digest, NULL, EVP_sha256(), NULL) == 1)
    to_hex(digest, hex);
}
