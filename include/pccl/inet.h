/*
 * Socket addresses of the C interface: octets in reading order, the port in the byte order of the host. A
 * zero-initialised address is an IPv4 address. The names and the layout are those of PCCL 1.0.
 */
#ifndef PCCL_INET_H
#define PCCL_INET_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which of the two address fields of ccoip_inet_address_t holds the address. */
typedef enum ccoip_inet_protocol_t { inetIPv4 = 0, inetIPv6 = 1 } ccoip_inet_protocol_t;

/* 127.0.0.1 is {127, 0, 0, 1}. */
typedef struct ccoip_ipv4_address_t {
    uint8_t data[4];
} ccoip_ipv4_address_t;

/* ::1 is fifteen zeros and a one. */
typedef struct ccoip_ipv6_address_t {
    uint8_t data[16];
} ccoip_ipv6_address_t;

/* An address of either family; the field that `protocol` does not name is ignored. */
typedef struct ccoip_inet_address_t {
    ccoip_inet_protocol_t protocol;
    ccoip_ipv4_address_t ipv4;
    ccoip_ipv6_address_t ipv6;
} ccoip_inet_address_t;

/* An address and a port; the port is in the byte order of the host. */
typedef struct ccoip_socket_address_t {
    ccoip_inet_address_t inet;
    uint16_t port;
} ccoip_socket_address_t;

#ifdef __cplusplus
}
#endif

#endif
