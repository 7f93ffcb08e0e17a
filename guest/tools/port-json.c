/*
 * A port as JSON: the fields that "vser list" and "vser monitor" share
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "util.h"
#include "descriptor.h"
#include "file.h"
#include "names.h"
#include "paths.h"
#include "port-json.h"

void port_json_number(Json *json, const Port *port, const char *key,
                      uint32_t value, size_t size)
{
    (void)port;
    (void)size;
    json_number(json, key, value);
}

void port_json_hex(Json *json, const Port *port, const char *key,
                   uint32_t value, size_t size)
{
    (void)port;
    json_hex(json, key, value, 2 * size);
}

void port_json_string(Json *json, const Port *port, const char *key,
                      uint32_t value, size_t size)
{
    char text[VIRTIO_SERIAL_DESC_STRING_SIZE];

    (void)size;
    port_string(port, value, text);
    json_text(json, key, text);
}

static const PortJsonField device_fields[] = {
    PORT_JSON_FIELD(usb_device_descriptor, idVendor, hex),
    PORT_JSON_FIELD(usb_device_descriptor, idProduct, hex),
    PORT_JSON_FIELD(usb_device_descriptor, bcdDevice, hex),
    PORT_JSON_FIELD(usb_device_descriptor, bcdUSB, hex),
    PORT_JSON_FIELD(usb_device_descriptor, bDeviceClass, hex),
    PORT_JSON_FIELD(usb_device_descriptor, bDeviceSubClass, hex),
    PORT_JSON_FIELD(usb_device_descriptor, bDeviceProtocol, hex),
    PORT_JSON_NAMED("manufacturer", usb_device_descriptor, iManufacturer),
    PORT_JSON_NAMED("product", usb_device_descriptor, iProduct),
    PORT_JSON_NAMED("serial", usb_device_descriptor, iSerialNumber),
};

void port_json_fields(Json *json, const Port *port, const uint8_t *p,
                      const PortJsonField *field, size_t count)
{
    for (; count; field++, count--) {
        field->show(json, port, field->key,
                    get_le(p + field->offset, field->size), field->size);
    }
}

void port_json(Json *json, const Port *port)
{
    const VirtIOSerialDescInfo *info = &port->info;
    char path[PATH_MAX], name[4096];

    json_text(json, "port", port->name);
    snprintf(path, sizeof(path), "%s/%s", VSER_DEV, port->name);
    json_text(json, "node", path);
    json_number(json, "controller", port->device);
    json_number(json, "id", port->id);
    json_text(json, "source", port_source(port));
    /* The virtio port's name: with stock drivers udev makes a link of it */
    snprintf(path, sizeof(path), "%s/%s/name", VSER_SYSFS, port->name);
    file_read_line(path, name, sizeof(name));
    json_text(json, "name", name);
    port_json_fields(json, port, port->blob, device_fields,
                     ARRAY_SIZE(device_fields));
    json_text(json, "vendorFromDatabase", names_vendor(info->idVendor));
    json_text(json, "productFromDatabase",
              names_product(info->idVendor, info->idProduct));
}
