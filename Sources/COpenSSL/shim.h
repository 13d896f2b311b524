// OpenSSL 3 as Swift sees it.
#pragma once

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

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

// TLS. What OpenSSL has as macros is a function here.

// Who verifies its peers is to name what its sessions are for, though none is resumed.
static const unsigned char copenssl_session_context[] = "broker-link/1";

// Everything that both forms of TLS have in common: TLS 1.3 only, nothing that would be resumed,
// renegotiated or sent before the handshake is complete.
static inline SSL_CTX *copenssl_tls_context(const char *ciphers, long certificate_bytes_max) {
    SSL_CTX *context = SSL_CTX_new(TLS_method());
    if (!context) return NULL;
    SSL_CTX_set_options(
        context, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context, certificate_bytes_max);
    // A record that waits for room is offered again at another address.
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_max_proto_version(context, TLS1_3_VERSION) == 1 &&
        SSL_CTX_set_ciphersuites(context, ciphers) == 1 &&
        SSL_CTX_set_session_id_context(
            context, copenssl_session_context, sizeof copenssl_session_context - 1) == 1 &&
        SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_max_early_data(context, 0) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

// Asks nobody for a passphrase.
static inline int copenssl_no_passphrase(char *buffer, int size, int writing, void *data) {
    (void)buffer, (void)size, (void)writing, (void)data;
    return -1;
}

// Calls `use` for each certificate of a PEM text, with its place. Returns how many there were; -1
// if one cannot be read or used.
static inline int copenssl_each_certificate(
    const void *text, int length, int (*use)(SSL_CTX *, X509 *, int), SSL_CTX *context) {
    BIO *source = BIO_new_mem_buf(text, length);
    if (!source) return -1;
    int count = 0;
    X509 *certificate = NULL;
    while ((certificate = PEM_read_bio_X509(source, NULL, copenssl_no_passphrase, NULL))) {
        int used = use(context, certificate, count);
        X509_free(certificate);
        if (used != 1) {
            BIO_free(source);
            return -1;
        }
        count += 1;
    }
    BIO_free(source);
    // The end of the text is an error of its own.
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) return -1;
    ERR_clear_error();
    return count;
}

static inline int copenssl_own_certificate(SSL_CTX *context, X509 *certificate, int place) {
    return place == 0 ? SSL_CTX_use_certificate(context, certificate)
                      : (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline int copenssl_trusted_certificate(SSL_CTX *context, X509 *certificate, int place) {
    (void)place;
    return X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate);
}

// Our certificate, with those behind it that lead to the authority.
static inline int copenssl_use_certificates(SSL_CTX *context, const void *text, int length) {
    return copenssl_each_certificate(text, length, copenssl_own_certificate, context);
}

// Those who may have signed the peer's certificate, roots or not.
static inline int copenssl_trust_certificates(SSL_CTX *context, const void *text, int length) {
    X509_STORE_set_flags(SSL_CTX_get_cert_store(context), X509_V_FLAG_PARTIAL_CHAIN);
    return copenssl_each_certificate(text, length, copenssl_trusted_certificate, context);
}

static inline int copenssl_use_private_key(SSL_CTX *context, const void *text, int length) {
    BIO *source = BIO_new_mem_buf(text, length);
    if (!source) return 0;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(source, NULL, copenssl_no_passphrase, NULL);
    BIO_free(source);
    if (!key) return 0;
    int used = SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context);
    EVP_PKEY_free(key);
    return used;
}

// A TLS 1.3 session that stands for an external pre-shared key of SHA-256.
static inline SSL_SESSION *copenssl_psk_session(
    SSL *ssl, const unsigned char *key, size_t length) {
    static const unsigned char aes_128_gcm_sha256[] = {0x13, 0x01};
    const SSL_CIPHER *cipher = SSL_CIPHER_find(ssl, aes_128_gcm_sha256);
    SSL_SESSION *session = SSL_SESSION_new();
    if (session && cipher && SSL_SESSION_set1_master_key(session, key, length) == 1 &&
        SSL_SESSION_set_cipher(session, cipher) == 1 &&
        SSL_SESSION_set1_id_context(
            session, copenssl_session_context, sizeof copenssl_session_context - 1) == 1 &&
        SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1)
        return session;
    SSL_SESSION_free(session);
    return NULL;
}

// The connection that a certificate is verified for.
static inline SSL *copenssl_ssl_of(X509_STORE_CTX *store) {
    return X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
}

// Writes the subject, or when it is no longer valid, as text; returns its length.
static inline int copenssl_describe_subject(X509 *certificate, char *text, int size) {
    BIO *output = BIO_new(BIO_s_mem());
    if (!output) return 0;
    X509_NAME_print_ex(output, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
    int length = BIO_read(output, text, size);
    BIO_free(output);
    return length < 0 ? 0 : length;
}

static inline int copenssl_describe_time(const ASN1_TIME *time, char *text, int size) {
    BIO *output = BIO_new(BIO_s_mem());
    if (!output) return 0;
    int length = ASN1_TIME_print(output, time) == 1 ? BIO_read(output, text, size) : 0;
    BIO_free(output);
    return length < 0 ? 0 : length;
}
