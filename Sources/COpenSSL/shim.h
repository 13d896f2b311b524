// OpenSSL 3 as Swift sees it.
#pragma once

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

// Parameter lists hold pointers to their names: they are made here, where names are constants.

// EVP_MAC_init of an HMAC-SHA-256 context with a key.
static inline int copenssl_hmac_sha256_init(
    EVP_MAC_CTX *context, const unsigned char *key, size_t key_length) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    // A null key would mean the key there was before.
    return EVP_MAC_init(context, key ? key : (const unsigned char *)"", key_length, parameters);
}

// EVP_KDF_derive of HKDF-SHA-256, extract and expand.
static inline int copenssl_hkdf_sha256(
    EVP_KDF_CTX *context, const void *secret, size_t secret_length, const void *salt,
    size_t salt_length, const void *info, size_t info_length, unsigned char *output,
    size_t output_length) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_length),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_length),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_length),
        OSSL_PARAM_construct_end(),
    };
    // An empty salt or info is left out: a null pointer is no octet string.
    if (salt_length == 0) {
        parameters[2] = parameters[3];
        parameters[3] = parameters[4];
        if (info_length == 0) parameters[2] = parameters[4];
    } else if (info_length == 0) {
        parameters[3] = parameters[4];
    }
    return EVP_KDF_derive(context, output, output_length, parameters);
}
