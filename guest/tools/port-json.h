/*
 * A port as JSON: the fields that "vser list" and "vser monitor" share
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VSER_PORT_JSON_H
#define VSER_PORT_JSON_H

#include "json.h"
#include "port.h"

/**
 * port_json:
 * @json: where an object is open
 * @port: the port
 *
 * Write which port it is, and what its device descriptor says. Both schemas
 * have these members.
 */
void port_json(Json *json, const Port *port);

/* A field of a descriptor, and how it is shown */
typedef struct PortJsonField {
    const char *key;
    size_t offset, size;
    void (*show)(Json *json, const Port *port, const char *key,
                 uint32_t value, size_t size);
} PortJsonField;

/* Show the value as a number, as hexadecimal digits, or as string index */
void port_json_number(Json *json, const Port *port, const char *key,
                      uint32_t value, size_t size);
void port_json_hex(Json *json, const Port *port, const char *key,
                   uint32_t value, size_t size);
void port_json_string(Json *json, const Port *port, const char *key,
                      uint32_t value, size_t size);

/* A row of a table of fields; the key is the field's name, or @name */
#define PORT_JSON_FIELD(type, field, how) \
    { .key = #field, .show = port_json_ ## how, DESC_AT(type, field) }
#define PORT_JSON_NAMED(name, type, field) \
    { .key = name, .show = port_json_string, DESC_AT(type, field) }

/* Write @count fields of the descriptor at @p */
void port_json_fields(Json *json, const Port *port, const uint8_t *p,
                      const PortJsonField *field, size_t count);

#endif /* VSER_PORT_JSON_H */
