// SPDX-License-Identifier: GPL-2.0
/*
 * USB host controller over virtio
 *
 * Theory of operation
 * ===================
 *
 * The device is a root hub with up to 15 ports and nothing else: it has no slots,
 * no contexts and no schedule. A transfer names its device by root port and USB
 * address. virtio_usb.h has the wire format.
 *
 * Queues. Each URB is one request on the request queue: a header, the data where
 * the URB has it, a result. A few bytes of data are copied behind the header or the
 * result instead. The control queue has commands: those of ports, which
 * hub_control() waits for, and those about requests, for which nobody waits. The
 * event queue has the states of ports. An event is state, not a message: each one
 * says all about a port, so none is ever missed.
 *
 * Life of a request (enum vusb_state). Enqueue puts the URB into the ring, or into
 * its endpoint's backlog if the ring is full or the endpoint has its share of the
 * ring. Dequeue gives an URB of the backlog back at once; for one in the ring it
 * sends CANCEL and waits for the request, which always comes back. The command is
 * a part of struct vusb_urb, so that cancelling needs no memory. The tasklet takes
 * answers from the rings and gives URBs back.
 *
 * Stopped endpoints. Class drivers rely on this: nothing behind a failed or
 * unlinked URB runs before its completion routine has returned. The device stops
 * a bulk or interrupt endpoint once for each request that it took and that fails, is
 * cancelled or is shorter than allowed, and the driver sends one EP_RESTART for each such request,
 * after the completion routine. The endpoint runs when none is owed. struct vusb_urb
 * lives until its EP_RESTART is answered, and has the memory for it.
 *
 * Locks. One spinlock is for the rings, the lists of requests and the ports. It is
 * not held while an URB is given back or the device is notified. RCU keeps the
 * queues alive for a notification that is outside of the lock.
 *
 * What the host says is not trusted. Fields are read once from memory that the host
 * can write. Lengths are clamped, unknown ports and speeds are left out, and each
 * loop over a ring has a budget. If the host breaks the format of an answer, leaves a
 * command unanswered, keeps a request that was cancelled, breaks a ring or wants a
 * reset, the controller is dead: the device is reset, all URBs are given back with
 * -ESHUTDOWN, and the USB core disconnects what was connected.
 *
 * Not there yet: SuperSpeed and streams (the shared hcd for them would sit beside
 * vusb->hcd, and vusb_connected() would choose by speed), isochronous transfers,
 * suspend of ports. System sleep works: the device is reset, and the USB core
 * resets and resumes all USB devices, as after a loss of power.
 *
 * Copyright (c) 2026 the virtio-serial-desc authors
 */

#include <linux/interrupt.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched/task_stack.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/usb.h>
#include <linux/usb/ch11.h>
#include <linux/usb/hcd.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>

#include "virtio_usb.h"

/* Requests of one endpoint in the ring, at most half of it: the others need room */
#define VUSB_EP_SHARE		128
/* Answers that are taken in one run of the tasklet, from each queue */
#define VUSB_BUDGET		64
/* Segments of data for which no memory is taken besides struct vusb_urb */
#define VUSB_FEW_SEGS		4
/* Bytes of data that are copied: a segment costs the device more than a copy costs us */
#define VUSB_SMALL		64
/* QEMU takes no more than 1024 descriptors, two are header and result */
#define VUSB_SEGS_MAX		1022
/* A command is answered before this, and a cancelled request is back, or the device is dead */
#define VUSB_TIMEOUT		(30 * HZ)

#define VUSB_NUM_VQS		3

static_assert(sizeof(struct virtio_usb_config) == 16);
static_assert(sizeof(struct virtio_usb_event) == 16);
static_assert(sizeof(struct virtio_usb_command) == 16);
static_assert(sizeof(struct virtio_usb_answer) == 16);
static_assert(sizeof(struct virtio_usb_request) == 32);
static_assert(sizeof(struct virtio_usb_result) == 16);

struct vusb;
struct vusb_cmd;

typedef void (*vusb_cmd_done_t)(struct vusb *vusb, struct vusb_cmd *cmd, int err);

enum vusb_cmd_state {
	VUSB_CMD_IDLE,
	VUSB_CMD_WAITS,		/* in vusb->cmd_wait: the control queue is full */
	VUSB_CMD_SENT,		/* in vusb->cmd_sent */
};

struct vusb_cmd {
	struct list_head node;
	enum vusb_cmd_state state;
	unsigned long deadline;		/* of VUSB_CMD_SENT */
	/* Called with the lock held; err is 0 if there is an answer */
	vusb_cmd_done_t done;
	struct virtio_usb_command command ____cacheline_aligned;
	struct virtio_usb_answer answer ____cacheline_aligned;
};

/* A command that a task waits for */
struct vusb_call {
	struct completion finished;
	bool abandoned;
	int err;
	u32 status;
	u8 port;
	struct vusb_cmd cmd;
};

enum vusb_state {
	VUSB_BACKLOG,		/* in ep->backlog */
	VUSB_RING,		/* the device has it; in vusb->cancelled, or in no list */
	VUSB_DONE,		/* on the way to the completion routine */
	VUSB_GIVEN,		/* the URB is gone */
};

struct vusb_urb {
	struct urb *urb;
	struct vusb_ep *ep;	/* until VUSB_DONE */
	struct list_head node;
	enum vusb_state state;
	unsigned long deadline;	/* of a cancelled request */
	bool restart;		/* the device waits for EP_RESTART */
	bool in;
	bool small;		/* the data are behind the header or the result */
	int err;
	struct scatterlist *data;
	unsigned int segs;
	struct sg_table table;
	struct scatterlist few[VUSB_FEW_SEGS];
	struct vusb_cmd cmd;
	struct virtio_usb_request request ____cacheline_aligned;
	u8 small_out[VUSB_SMALL];
	struct virtio_usb_result result ____cacheline_aligned;
	u8 small_in[VUSB_SMALL];
};

static_assert(offsetof(struct vusb_urb, small_out) ==
	      offsetofend(struct vusb_urb, request));
static_assert(offsetof(struct vusb_urb, small_in) ==
	      offsetofend(struct vusb_urb, result));

struct vusb_ep {
	struct list_head backlog;	/* struct vusb_urb */
	struct list_head waits;		/* in vusb->waiting while backlog has any */
	unsigned int in_ring;
};

struct vusb_port {
	u32 status;
	u32 seq;
	u8 speed;
	u16 change;		/* USB_PORT_STAT_C_* */
};

struct vusb_event_buf {
	struct virtio_usb_event event ____cacheline_aligned;
};

struct vusb {
	struct virtio_device *vdev;
	struct usb_hcd *hcd;
	struct virtqueue *vqs[VUSB_NUM_VQS];
	struct tasklet_struct tasklet;
	struct work_struct death;
	struct delayed_work watchdog;
	u8 num_ports;
	u32 max_transfer;
	unsigned int segs_max;
	size_t seg_size_max;
	unsigned int ep_share;
	unsigned int num_events;
	struct vusb_event_buf *events;

	/* For all that follows */
	spinlock_t lock;
	bool up;		/* the rings may be used */
	bool dead;
	bool registered;	/* the USB core knows the controller */
	bool hub_changed;	/* the USB core has to be told */
	unsigned long added;	/* bits of the queues that have something new */
	u64 tag;
	unsigned int in_ring;
	struct list_head waiting;	/* struct vusb_ep */
	struct list_head cmd_wait;	/* struct vusb_cmd */
	struct list_head cmd_sent;	/* struct vusb_cmd, the oldest first */
	struct list_head cancelled;	/* struct vusb_urb, the oldest first */
	struct vusb_port ports[VIRTIO_USB_PORTS_MAX];
};

static struct vusb *hcd_to_vusb(struct usb_hcd *hcd)
{
	return *(struct vusb **)hcd->hcd_priv;
}

/* The controller is given up. The lock is held. */
static void vusb_fail(struct vusb *vusb, const char *why)
{
	vusb->up = false;
	if (vusb->dead)
		return;
	vusb->dead = true;
	dev_err(&vusb->vdev->dev, "%s; the controller is dead\n", why);
	schedule_work(&vusb->death);
}

/* When the device is dead if it stays silent. The lock is held. */
static unsigned long vusb_deadline(struct vusb *vusb)
{
	/* Does nothing if the watchdog is waiting already */
	schedule_delayed_work(&vusb->watchdog, VUSB_TIMEOUT);
	return jiffies + VUSB_TIMEOUT;
}

/*
 * Nobody may wait for ever for a device that is silent, and what was not answered must
 * not pile up.
 */
static void vusb_watchdog(struct work_struct *work)
{
	struct vusb *vusb = container_of(work, struct vusb, watchdog.work);
	unsigned long now = jiffies, next = now + VUSB_TIMEOUT;
	struct vusb_urb *vurb;
	struct vusb_cmd *cmd;
	unsigned long flags;

	spin_lock_irqsave(&vusb->lock, flags);
	cmd = list_first_entry_or_null(&vusb->cmd_sent, struct vusb_cmd, node);
	vurb = list_first_entry_or_null(&vusb->cancelled, struct vusb_urb, node);
	if (cmd)
		next = cmd->deadline;
	if (vurb && time_before(vurb->deadline, next))
		next = vurb->deadline;
	if (vusb->up && (cmd || vurb)) {
		if (time_before(now, next))
			schedule_delayed_work(&vusb->watchdog, next - now);
		else
			vusb_fail(vusb, "the device is silent");
	}
	spin_unlock_irqrestore(&vusb->lock, flags);
}

/* Release the lock, and tell the device if it wants to be told. */
static void vusb_unlock_kick(struct vusb *vusb, unsigned int queue, unsigned long flags)
	__releases(&vusb->lock)
{
	struct virtqueue *vq = vusb->vqs[queue];
	bool notify = vusb->up && __test_and_clear_bit(queue, &vusb->added) &&
		      virtqueue_kick_prepare(vq);

	/* The queues are deleted after a grace period */
	rcu_read_lock();
	spin_unlock_irqrestore(&vusb->lock, flags);
	if (notify)
		virtqueue_notify(vq);
	rcu_read_unlock();
}

/* ---- Commands ---- */

/* The lock is held. */
static int vusb_cmd_add(struct vusb *vusb, struct vusb_cmd *cmd)
{
	struct scatterlist command, answer, *sgs[] = { &command, &answer };
	int err;

	sg_init_one(&command, &cmd->command, sizeof(cmd->command));
	sg_init_one(&answer, &cmd->answer, sizeof(cmd->answer));
	err = virtqueue_add_sgs(vusb->vqs[VIRTIO_USB_VQ_CONTROL], sgs, 1, 1, cmd, GFP_ATOMIC);
	if (err)
		return err;
	cmd->state = VUSB_CMD_SENT;
	cmd->deadline = vusb_deadline(vusb);
	list_add_tail(&cmd->node, &vusb->cmd_sent);
	__set_bit(VIRTIO_USB_VQ_CONTROL, &vusb->added);
	return 0;
}

/* Send a command, or let it wait for room. The lock is held; the caller kicks. */
static void vusb_cmd_send(struct vusb *vusb, struct vusb_cmd *cmd)
{
	int err = list_empty(&vusb->cmd_wait) ? vusb_cmd_add(vusb, cmd) : -ENOSPC;

	if (!err)
		return;
	cmd->state = VUSB_CMD_WAITS;
	list_add_tail(&cmd->node, &vusb->cmd_wait);
	if (err != -ENOSPC)
		vusb_fail(vusb, "a command can't be sent");
}

/* The lock is held; the caller kicks. */
static void vusb_cmd_send_waiting(struct vusb *vusb)
{
	struct vusb_cmd *cmd;
	int err;

	while (!list_empty(&vusb->cmd_wait)) {
		cmd = list_first_entry(&vusb->cmd_wait, struct vusb_cmd, node);
		list_del_init(&cmd->node);
		err = vusb_cmd_add(vusb, cmd);
		if (!err)
			continue;
		list_add(&cmd->node, &vusb->cmd_wait);
		if (err != -ENOSPC)
			vusb_fail(vusb, "a command can't be sent");
		return;
	}
}

static void vusb_cmd_end(struct vusb *vusb, struct vusb_cmd *cmd, int err)
{
	list_del_init(&cmd->node);
	cmd->state = VUSB_CMD_IDLE;
	cmd->done(vusb, cmd, err);
}

static void vusb_cmd_init(struct vusb_cmd *cmd, vusb_cmd_done_t done)
{
	INIT_LIST_HEAD(&cmd->node);
	cmd->state = VUSB_CMD_IDLE;
	cmd->done = done;
}

/* ---- Ports ---- */

static bool vusb_connected(const struct vusb_port *port)
{
	return (port->status & VIRTIO_USB_PORT_CONNECTED) &&
	       (port->status & VIRTIO_USB_PORT_POWERED) &&
	       port->speed != VIRTIO_USB_SPEED_NONE;
}

/* wPortStatus of a USB 2.0 hub */
static u16 vusb_port_status(const struct vusb_port *port)
{
	u16 status = 0;

	if (port->status & VIRTIO_USB_PORT_POWERED)
		status |= USB_PORT_STAT_POWER;
	if (!vusb_connected(port))
		return status;
	status |= USB_PORT_STAT_CONNECTION;
	if (port->status & VIRTIO_USB_PORT_ENABLED)
		status |= USB_PORT_STAT_ENABLE;
	if (port->speed == VIRTIO_USB_SPEED_LOW)
		status |= USB_PORT_STAT_LOW_SPEED;
	else if (port->speed == VIRTIO_USB_SPEED_HIGH)
		status |= USB_PORT_STAT_HIGH_SPEED;
	return status;
}

/*
 * The host has said how a port is. Only an event can say that the host has disabled
 * it by itself. The lock is held.
 */
static void vusb_port_set(struct vusb *vusb, u8 number, u32 status, u32 seq, u8 speed,
			  bool event)
{
	struct vusb_port *port = &vusb->ports[number - 1], was = *port;
	u16 before, after;

	if (speed > VIRTIO_USB_SPEED_HIGH) {
		dev_warn_ratelimited(&vusb->vdev->dev, "port %u: unknown speed %u\n",
				     number, speed);
		speed = VIRTIO_USB_SPEED_NONE;
	}
	port->status = status;
	port->seq = seq;
	port->speed = speed;

	before = vusb_port_status(&was);
	after = vusb_port_status(port);
	if ((before ^ after) & USB_PORT_STAT_CONNECTION)
		port->change |= USB_PORT_STAT_C_CONNECTION;
	else if ((after & USB_PORT_STAT_CONNECTION) && seq != was.seq)
		port->change |= USB_PORT_STAT_C_CONNECTION;
	else if (event && (before & ~after & USB_PORT_STAT_ENABLE))
		port->change |= USB_PORT_STAT_C_ENABLE;
	if (port->change != was.change)
		vusb->hub_changed = true;
}

/* The lock is held. Returns true if there is more. */
static bool vusb_take_events(struct vusb *vusb)
{
	struct virtqueue *vq = vusb->vqs[VIRTIO_USB_VQ_EVENT];
	struct vusb_event_buf *buf;
	struct scatterlist sg;
	unsigned int n, len;
	u16 type;
	u8 port;

	for (n = 0; n < VUSB_BUDGET; n++) {
		buf = virtqueue_get_buf(vq, &len);
		if (!buf)
			break;
		type = le16_to_cpu(READ_ONCE(buf->event.type));
		port = READ_ONCE(buf->event.port);
		if (len < sizeof(buf->event) || type != VIRTIO_USB_EVENT_PORT ||
		    port < 1 || port > vusb->num_ports)
			dev_warn_ratelimited(&vusb->vdev->dev,
					     "unknown event: type %u, port %u, %u bytes\n",
					     type, port, len);
		else
			vusb_port_set(vusb, port, le32_to_cpu(READ_ONCE(buf->event.status)),
				      le32_to_cpu(READ_ONCE(buf->event.seq)),
				      READ_ONCE(buf->event.speed), true);
		sg_init_one(&sg, &buf->event, sizeof(buf->event));
		if (virtqueue_add_inbuf(vq, &sg, 1, buf, GFP_ATOMIC)) {
			vusb_fail(vusb, "a buffer for events can't be posted");
			break;
		}
		__set_bit(VIRTIO_USB_VQ_EVENT, &vusb->added);
	}
	return n == VUSB_BUDGET;
}

/* Tell the USB core what has changed at the root hub. The lock is not held. */
static void vusb_tell_core(struct vusb *vusb)
{
	unsigned long flags;
	bool changed;

	spin_lock_irqsave(&vusb->lock, flags);
	changed = vusb->hub_changed;
	vusb->hub_changed = false;
	spin_unlock_irqrestore(&vusb->lock, flags);
	if (!changed)
		return;
	if (vusb->hcd->state == HC_STATE_SUSPENDED)
		usb_hcd_resume_root_hub(vusb->hcd);
	usb_hcd_poll_rh_status(vusb->hcd);
}

static void vusb_call_done(struct vusb *vusb, struct vusb_cmd *cmd, int err)
{
	struct vusb_call *call = container_of(cmd, struct vusb_call, cmd);
	u32 seq;

	if (call->abandoned) {
		kfree(call);
		return;
	}
	call->err = err;
	if (!err) {
		call->status = le32_to_cpu(READ_ONCE(cmd->answer.status));
		seq = le32_to_cpu(READ_ONCE(cmd->answer.seq));
		/* An event that came first may be newer than this answer */
		if (call->status == VIRTIO_USB_S_OK &&
		    (s32)(seq - vusb->ports[call->port - 1].seq) >= 0)
			vusb_port_set(vusb, call->port,
				      le32_to_cpu(READ_ONCE(cmd->answer.value)), seq,
				      READ_ONCE(cmd->answer.speed), false);
	}
	complete(&call->finished);
}

/* Send a port's command, and wait for the answer. */
static int vusb_port_command(struct vusb *vusb, u16 number, u8 port, u64 arg)
{
	struct vusb_call *call = kzalloc_obj(*call, GFP_NOIO);
	unsigned long flags;
	int err;

	if (!call)
		return -ENOMEM;
	init_completion(&call->finished);
	vusb_cmd_init(&call->cmd, vusb_call_done);
	call->port = port;
	call->cmd.command.cmd = cpu_to_le16(number);
	call->cmd.command.port = port;
	call->cmd.command.arg = cpu_to_le64(arg);

	spin_lock_irqsave(&vusb->lock, flags);
	if (!vusb->up) {
		spin_unlock_irqrestore(&vusb->lock, flags);
		kfree(call);
		return -ESHUTDOWN;
	}
	vusb_cmd_send(vusb, &call->cmd);
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_CONTROL, flags);

	if (!wait_for_completion_timeout(&call->finished, VUSB_TIMEOUT)) {
		spin_lock_irqsave(&vusb->lock, flags);
		if (!completion_done(&call->finished)) {
			/* The device may still write into it. */
			call->abandoned = true;
			vusb_fail(vusb, "a port's command was not answered");
			spin_unlock_irqrestore(&vusb->lock, flags);
			return -ETIMEDOUT;
		}
		spin_unlock_irqrestore(&vusb->lock, flags);
	}
	err = call->err;
	if (!err && call->status != VIRTIO_USB_S_OK)
		err = -EPIPE;
	kfree(call);
	return err;
}

/* ---- Requests ---- */

static void vusb_urb_free(struct vusb_urb *vurb)
{
	sg_free_table(&vurb->table);
	kfree(vurb);
}

/* Add a piece of memory to a list, in segments that are not too long. */
static struct scatterlist *vusb_add_segs(struct vusb *vusb, struct scatterlist *sg,
					 struct page *page, unsigned int offset,
					 unsigned int len)
{
	while (len) {
		unsigned int part = min_t(size_t, len, vusb->seg_size_max);

		sg_set_page(sg, page + (offset >> PAGE_SHIFT), part,
			    offset_in_page(offset));
		sg = sg_next(sg);
		offset += part;
		len -= part;
	}
	return sg;
}

static unsigned int vusb_count_segs(struct vusb *vusb, unsigned int len)
{
	return len / vusb->seg_size_max + !!(len % vusb->seg_size_max);
}

/* Make the list of an URB's data, cut to the URB's length. */
static int vusb_map(struct vusb *vusb, struct vusb_urb *vurb, gfp_t gfp)
{
	struct urb *urb = vurb->urb;
	unsigned int left = urb->transfer_buffer_length, part, segs = 0, i;
	void *buf = urb->transfer_buffer;
	struct scatterlist *from, *to;
	bool vmalloced = false;
	int err;

	if (!left)
		return 0;
	if (left > vusb->max_transfer)
		return -E2BIG;
	if (!urb->num_sgs && buf && !is_vmalloc_addr(buf) &&
	    (object_is_on_stack(buf) || !virt_addr_valid(buf))) {
		dev_warn_ratelimited(&urb->dev->dev,
				     "the transfer buffer is no kernel memory for data\n");
		return -EAGAIN;
	}
	if (!urb->num_sgs && buf && left <= VUSB_SMALL) {
		vurb->small = true;
		if (!vurb->in)
			memcpy(vurb->small_out, buf, left);
		return 0;
	}
	if (urb->num_sgs) {
		for_each_sg(urb->sg, from, urb->num_sgs, i) {
			part = min(left, from->length);
			segs += vusb_count_segs(vusb, part);
			left -= part;
		}
		if (left)
			return -EINVAL;
	} else if (is_vmalloc_addr(buf)) {
		vmalloced = true;
		segs = DIV_ROUND_UP(offset_in_page(buf) + left, PAGE_SIZE);
	} else {
		if (!buf)
			return -EINVAL;
		segs = vusb_count_segs(vusb, left);
	}
	if (segs > vusb->segs_max)
		return -E2BIG;

	if (segs <= VUSB_FEW_SEGS) {
		vurb->data = vurb->few;
		sg_init_table(vurb->data, segs);
	} else {
		err = sg_alloc_table(&vurb->table, segs, gfp);
		if (err)
			return err;
		vurb->data = vurb->table.sgl;
	}
	vurb->segs = segs;

	to = vurb->data;
	left = urb->transfer_buffer_length;
	if (urb->num_sgs) {
		for_each_sg(urb->sg, from, urb->num_sgs, i) {
			part = min(left, from->length);
			to = vusb_add_segs(vusb, to, sg_page(from), from->offset, part);
			left -= part;
		}
	} else if (vmalloced) {
		for (; left; left -= part, buf += part) {
			part = min_t(unsigned int, left, PAGE_SIZE - offset_in_page(buf));
			to = vusb_add_segs(vusb, to, vmalloc_to_page(buf),
					   offset_in_page(buf), part);
		}
	} else {
		vusb_add_segs(vusb, to, virt_to_page(buf), offset_in_page(buf), left);
	}
	return 0;
}

static u8 vusb_root_port(const struct usb_device *udev)
{
	while (udev->parent->parent)
		udev = udev->parent;
	return udev->portnum;
}

static void vusb_urb_cmd_done(struct vusb *vusb, struct vusb_cmd *cmd, int err);

static struct vusb_urb *vusb_urb_alloc(struct vusb *vusb, struct urb *urb, gfp_t gfp)
{
	struct vusb_urb *vurb = kzalloc_obj(*vurb, gfp);
	struct virtio_usb_request *request;
	unsigned int interval;
	u16 flags = 0;
	int err;

	if (!vurb)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&vurb->node);
	vusb_cmd_init(&vurb->cmd, vusb_urb_cmd_done);
	vurb->urb = urb;
	vurb->in = usb_urb_dir_in(urb);
	err = vusb_map(vusb, vurb, gfp);
	if (err) {
		kfree(vurb);
		return ERR_PTR(err);
	}

	request = &vurb->request;
	request->port = vusb_root_port(urb->dev);
	/* While a device gets its address, pipes are right and devnum may not be */
	request->addr = usb_pipedevice(urb->pipe);
	request->ep = usb_pipeendpoint(urb->pipe);
	request->length = cpu_to_le32(urb->transfer_buffer_length);
	switch (usb_pipetype(urb->pipe)) {
	case PIPE_CONTROL:
		request->type = VIRTIO_USB_TYPE_CONTROL;
		memcpy(request->setup, urb->setup_packet, sizeof(request->setup));
		break;
	case PIPE_BULK:
		request->type = VIRTIO_USB_TYPE_BULK;
		break;
	default:
		request->type = VIRTIO_USB_TYPE_INT;
		/* In frames of 1 ms, or in microframes */
		interval = clamp(urb->interval, 1, 1 << 15);
		if (urb->dev->speed < USB_SPEED_HIGH)
			interval *= 8;
		request->interval = cpu_to_le32(interval);
	}
	if (request->type != VIRTIO_USB_TYPE_CONTROL && vurb->in)
		request->ep |= VIRTIO_USB_EP_IN;
	if (urb->transfer_flags & URB_SHORT_NOT_OK && vurb->in)
		flags |= VIRTIO_USB_REQ_SHORT_NOT_OK;
	if (urb->transfer_flags & URB_ZERO_PACKET && !vurb->in)
		flags |= VIRTIO_USB_REQ_ZERO_PACKET;
	request->flags = cpu_to_le16(flags);
	return vurb;
}

/* Put a request into the ring. The lock is held; the caller kicks. */
static int vusb_urb_add(struct vusb *vusb, struct vusb_urb *vurb)
{
	struct scatterlist request, result, *sgs[3];
	unsigned int small = vurb->small ? vurb->urb->transfer_buffer_length : 0;
	unsigned int out = 0, in = 0;
	int err;

	sg_init_one(&request, &vurb->request,
		    sizeof(vurb->request) + (vurb->in ? 0 : small));
	sg_init_one(&result, &vurb->result,
		    sizeof(vurb->result) + (vurb->in ? small : 0));
	sgs[out++] = &request;
	if (vurb->segs && !vurb->in)
		sgs[out++] = vurb->data;
	sgs[out + in++] = &result;
	if (vurb->segs && vurb->in)
		sgs[out + in++] = vurb->data;
	vurb->request.tag = cpu_to_le64(++vusb->tag);
	err = virtqueue_add_sgs(vusb->vqs[VIRTIO_USB_VQ_REQUEST], sgs, out, in, vurb,
				GFP_ATOMIC);
	if (err) {
		if (virtqueue_is_broken(vusb->vqs[VIRTIO_USB_VQ_REQUEST]))
			vusb_fail(vusb, "the request queue is broken");
		/* Nothing would come back from an empty ring and make room */
		return err == -ENOSPC && !vusb->in_ring ? -ENOMEM : err;
	}
	vurb->state = VUSB_RING;
	vurb->ep->in_ring++;
	vusb->in_ring++;
	__set_bit(VIRTIO_USB_VQ_REQUEST, &vusb->added);
	return 0;
}

static void vusb_backlog_add(struct vusb *vusb, struct vusb_urb *vurb)
{
	vurb->state = VUSB_BACKLOG;
	list_add_tail(&vurb->node, &vurb->ep->backlog);
	if (list_empty(&vurb->ep->waits))
		list_add_tail(&vurb->ep->waits, &vusb->waiting);
}

static void vusb_backlog_del(struct vusb_urb *vurb)
{
	list_del_init(&vurb->node);
	if (list_empty(&vurb->ep->backlog))
		list_del_init(&vurb->ep->waits);
}

static int vusb_urb_enqueue(struct usb_hcd *hcd, struct urb *urb, gfp_t gfp)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	struct vusb_ep *ep, *spare = NULL;
	struct vusb_urb *vurb;
	unsigned long flags;
	int err;

	if (usb_pipeisoc(urb->pipe) || urb->stream_id)
		return -EOPNOTSUPP;
	vurb = vusb_urb_alloc(vusb, urb, gfp);
	if (IS_ERR(vurb))
		return PTR_ERR(vurb);
	if (!READ_ONCE(urb->ep->hcpriv)) {
		spare = kzalloc_obj(*spare, gfp);
		if (!spare) {
			vusb_urb_free(vurb);
			return -ENOMEM;
		}
		INIT_LIST_HEAD(&spare->backlog);
		INIT_LIST_HEAD(&spare->waits);
	}

	spin_lock_irqsave(&vusb->lock, flags);
	err = vusb->up ? usb_hcd_link_urb_to_ep(hcd, urb) : -ESHUTDOWN;
	if (err)
		goto refuse;
	if (!urb->ep->hcpriv) {
		WRITE_ONCE(urb->ep->hcpriv, spare);
		spare = NULL;
	}
	ep = urb->ep->hcpriv;
	if (!ep) {
		/* It was disabled in between */
		err = -ENOENT;
		goto unlink;
	}
	vurb->ep = ep;
	urb->hcpriv = vurb;
	if (list_empty(&ep->backlog) && ep->in_ring < vusb->ep_share)
		err = vusb_urb_add(vusb, vurb);
	else
		err = -ENOSPC;
	if (err == -ENOSPC) {
		vusb_backlog_add(vusb, vurb);
		err = 0;
	}
	if (err)
		goto unlink;
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_REQUEST, flags);
	kfree(spare);
	return 0;

unlink:
	urb->hcpriv = NULL;
	usb_hcd_unlink_urb_from_ep(hcd, urb);
refuse:
	spin_unlock_irqrestore(&vusb->lock, flags);
	kfree(spare);
	vusb_urb_free(vurb);
	return err;
}

/*
 * The URB was given back: send the EP_RESTART that is owed, then free the rest. The
 * lock is held; the caller kicks.
 */
static void vusb_urb_finish(struct vusb *vusb, struct vusb_urb *vurb)
{
	struct vusb_cmd *cmd = &vurb->cmd;

	if (cmd->state == VUSB_CMD_WAITS) {
		/* A CANCEL that comes too late */
		list_del_init(&cmd->node);
		cmd->state = VUSB_CMD_IDLE;
	}
	if (cmd->state == VUSB_CMD_SENT)
		return;		/* vusb_urb_cmd_done() goes on */
	if (!vurb->restart || !vusb->up) {
		vusb_urb_free(vurb);
		return;
	}
	vurb->restart = false;
	cmd->command.cmd = cpu_to_le16(VIRTIO_USB_CMD_EP_RESTART);
	cmd->command.port = vurb->request.port;
	cmd->command.addr = vurb->request.addr;
	cmd->command.ep = vurb->request.ep;
	cmd->command.arg = 0;
	vusb_cmd_send(vusb, cmd);
}

static void vusb_urb_cmd_done(struct vusb *vusb, struct vusb_cmd *cmd, int err)
{
	struct vusb_urb *vurb = container_of(cmd, struct vusb_urb, cmd);

	if (vurb->state == VUSB_GIVEN)
		vusb_urb_finish(vusb, vurb);
}

static int vusb_urb_dequeue(struct usb_hcd *hcd, struct urb *urb, int status)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	struct vusb_cmd *cmd;
	struct vusb_urb *vurb;
	unsigned long flags;
	int err;

	spin_lock_irqsave(&vusb->lock, flags);
	err = usb_hcd_check_unlink_urb(hcd, urb, status);
	vurb = urb->hcpriv;
	if (err || !vurb)
		goto unlock;
	if (vurb->state == VUSB_BACKLOG) {
		vusb_backlog_del(vurb);
		urb->hcpriv = NULL;
		usb_hcd_unlink_urb_from_ep(hcd, urb);
		spin_unlock_irqrestore(&vusb->lock, flags);
		usb_hcd_giveback_urb(hcd, urb, status);
		vusb_urb_free(vurb);
		return 0;
	}
	cmd = &vurb->cmd;
	if (vurb->state == VUSB_RING && cmd->state == VUSB_CMD_IDLE && vusb->up) {
		cmd->command.cmd = cpu_to_le16(VIRTIO_USB_CMD_CANCEL);
		cmd->command.port = vurb->request.port;
		cmd->command.addr = vurb->request.addr;
		cmd->command.ep = vurb->request.ep;
		cmd->command.arg = vurb->request.tag;
		vurb->deadline = vusb_deadline(vusb);
		list_add_tail(&vurb->node, &vusb->cancelled);
		vusb_cmd_send(vusb, cmd);
		vusb_unlock_kick(vusb, VIRTIO_USB_VQ_CONTROL, flags);
		return 0;
	}
unlock:
	spin_unlock_irqrestore(&vusb->lock, flags);
	return err;
}

static int vusb_errno(u32 status)
{
	switch (status) {
	case VIRTIO_USB_S_OK:		return 0;
	case VIRTIO_USB_S_NODEV:	return -ESHUTDOWN;
	case VIRTIO_USB_S_STALL:	return -EPIPE;
	case VIRTIO_USB_S_BABBLE:	return -EOVERFLOW;
	case VIRTIO_USB_S_CANCELED:	return -ECONNRESET;
	case VIRTIO_USB_S_SHORT:	return -EREMOTEIO;
	case VIRTIO_USB_S_INVAL:	return -EINVAL;
	case VIRTIO_USB_S_XRUN:		return -EXDEV;
	case VIRTIO_USB_S_NOSPC:
	case VIRTIO_USB_S_BUSY:		return -ENOSR;
	case VIRTIO_USB_S_NOTSUPP:	return -EOPNOTSUPP;
	}
	return -EPROTO;
}

/* The device has used a request. The lock is held. */
static void vusb_urb_result(struct vusb *vusb, struct vusb_urb *vurb, unsigned int len)
{
	struct urb *urb = vurb->urb;
	u32 room = urb->transfer_buffer_length, actual, status;

	if (len < sizeof(vurb->result)) {
		vurb->err = -ESHUTDOWN;
		vusb_fail(vusb, "a request came back without its result");
		return;
	}
	status = le32_to_cpu(READ_ONCE(vurb->result.status));
	vurb->err = vusb_errno(status);
	/*
	 * Control endpoints never stop; without its device, an endpoint is gone. What
	 * was refused has stopped nothing: EP_RESTART would undo the stop of another.
	 */
	vurb->restart = vurb->request.type != VIRTIO_USB_TYPE_CONTROL &&
			status != VIRTIO_USB_S_OK && status != VIRTIO_USB_S_NODEV &&
			status != VIRTIO_USB_S_INVAL && status != VIRTIO_USB_S_NOTSUPP;
	actual = le32_to_cpu(READ_ONCE(vurb->result.actual));
	/* What was not written must not be taken for data */
	if (vurb->in)
		room = min_t(u32, room, len - sizeof(vurb->result));
	if (actual > room) {
		dev_warn_ratelimited(&vusb->vdev->dev,
				     "port %u, address %u, endpoint %#x: %u bytes, only %u are possible\n",
				     vurb->request.port, vurb->request.addr,
				     vurb->request.ep, actual, room);
		actual = room;
		if (!vurb->err)
			vurb->err = -EPROTO;
	}
	if (vurb->small && vurb->in)
		memcpy(urb->transfer_buffer, vurb->small_in, actual);
	urb->actual_length = actual;
}

/* The lock is held. Returns true if there is more. */
static bool vusb_take_requests(struct vusb *vusb, struct list_head *done)
{
	struct virtqueue *vq = vusb->vqs[VIRTIO_USB_VQ_REQUEST];
	struct vusb_urb *vurb;
	unsigned int n, len;

	for (n = 0; n < VUSB_BUDGET && vusb->up; n++) {
		vurb = virtqueue_get_buf(vq, &len);
		if (!vurb)
			break;
		vusb->in_ring--;
		vurb->ep->in_ring--;
		vurb->ep = NULL;
		vurb->state = VUSB_DONE;
		vusb_urb_result(vusb, vurb, len);
		list_move_tail(&vurb->node, done);
	}
	return n == VUSB_BUDGET;
}

/* The lock is held. Returns true if there is more. */
static bool vusb_take_answers(struct vusb *vusb)
{
	struct virtqueue *vq = vusb->vqs[VIRTIO_USB_VQ_CONTROL];
	struct vusb_cmd *cmd;
	unsigned int n, len;
	bool more = false;

	for (n = 0; n < VUSB_BUDGET && vusb->up; n++) {
		cmd = virtqueue_get_buf(vq, &len);
		if (!cmd)
			break;
		/* Events that were sent before the answer come first */
		more |= vusb_take_events(vusb);
		if (len < sizeof(cmd->answer)) {
			vusb_fail(vusb, "a command came back without its answer");
			vusb_cmd_end(vusb, cmd, -ESHUTDOWN);
			break;
		}
		vusb_cmd_end(vusb, cmd, 0);
	}
	if (n && vusb->up)
		vusb_cmd_send_waiting(vusb);
	return more || n == VUSB_BUDGET;
}

static void vusb_give_back(struct vusb *vusb, struct list_head *done)
{
	struct vusb_urb *vurb, *next;
	unsigned long flags;

	/* Completion routines run as in the tasklet, whoever calls. */
	local_bh_disable();
	list_for_each_entry_safe(vurb, next, done, node) {
		struct urb *urb = vurb->urb;

		spin_lock_irqsave(&vusb->lock, flags);
		list_del_init(&vurb->node);
		urb->hcpriv = NULL;
		usb_hcd_unlink_urb_from_ep(vusb->hcd, urb);
		spin_unlock_irqrestore(&vusb->lock, flags);

		usb_hcd_giveback_urb(vusb->hcd, urb, vurb->err);

		spin_lock_irqsave(&vusb->lock, flags);
		vurb->urb = NULL;
		vurb->state = VUSB_GIVEN;
		vusb_urb_finish(vusb, vurb);
		vusb_unlock_kick(vusb, VIRTIO_USB_VQ_CONTROL, flags);
	}
	local_bh_enable();
}

/* Put requests of backlogs into the ring. What can't be put there goes to @failed. */
static void vusb_refill(struct vusb *vusb, struct list_head *failed)
{
	struct vusb_ep *ep, *next;
	struct vusb_urb *vurb;
	unsigned long flags;
	int err = 0;

	spin_lock_irqsave(&vusb->lock, flags);
	if (!vusb->up || list_empty(&vusb->waiting)) {
		spin_unlock_irqrestore(&vusb->lock, flags);
		return;
	}
	list_for_each_entry_safe(ep, next, &vusb->waiting, waits) {
		while (!list_empty(&ep->backlog) && ep->in_ring < vusb->ep_share) {
			vurb = list_first_entry(&ep->backlog, struct vusb_urb, node);
			err = vusb_urb_add(vusb, vurb);
			if (err == -ENOSPC || !vusb->up)
				break;
			vusb_backlog_del(vurb);
			if (err) {
				vurb->err = err;
				vurb->state = VUSB_DONE;
				list_add_tail(&vurb->node, failed);
			}
		}
		if (err == -ENOSPC || !vusb->up)
			break;
	}
	/* The others come first the next time */
	if (!list_empty(&vusb->waiting))
		list_rotate_left(&vusb->waiting);
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_REQUEST, flags);
}

static void vusb_tasklet(struct tasklet_struct *t)
{
	struct vusb *vusb = from_tasklet(vusb, t, tasklet);
	LIST_HEAD(done);
	unsigned long flags;
	bool more = false;
	unsigned int i;

	spin_lock_irqsave(&vusb->lock, flags);
	if (vusb->up) {
		for (i = 0; i < VUSB_NUM_VQS; i++)
			virtqueue_disable_cb(vusb->vqs[i]);
		more |= vusb_take_events(vusb);
		more |= vusb_take_answers(vusb);
		more |= vusb_take_requests(vusb, &done);
	}
	for (i = 0; i < VUSB_NUM_VQS && vusb->up; i++)
		if (virtqueue_is_broken(vusb->vqs[i]))
			vusb_fail(vusb, "a queue is broken");
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_CONTROL, flags);

	vusb_give_back(vusb, &done);
	vusb_refill(vusb, &done);
	vusb_give_back(vusb, &done);
	vusb_tell_core(vusb);

	spin_lock_irqsave(&vusb->lock, flags);
	for (i = 0; i < VUSB_NUM_VQS && vusb->up && !more; i++)
		more = !virtqueue_enable_cb(vusb->vqs[i]);
	if (vusb->up && more)
		tasklet_schedule(&vusb->tasklet);
	/* Buffers for events that were posted again */
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_EVENT, flags);
}

static void vusb_callback(struct virtqueue *vq)
{
	struct vusb *vusb = vq->vdev->priv;

	virtqueue_disable_cb(vq);
	tasklet_schedule(&vusb->tasklet);
}

static void vusb_endpoint_disable(struct usb_hcd *hcd, struct usb_host_endpoint *hep)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	struct vusb_ep *ep;
	unsigned long flags;

	/* The USB core has seen all URBs of the endpoint come back. */
	spin_lock_irqsave(&vusb->lock, flags);
	ep = hep->hcpriv;
	WRITE_ONCE(hep->hcpriv, NULL);
	if (ep)
		list_del_init(&ep->waits);
	spin_unlock_irqrestore(&vusb->lock, flags);
	kfree(ep);
}

static int vusb_get_frame(struct usb_hcd *hcd)
{
	return ktime_to_ms(ktime_get()) & 0x7ff;
}

/* ---- The root hub ---- */

static int vusb_hub_status_data(struct usb_hcd *hcd, char *buf)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	int len = vusb->num_ports / 8 + 1, changed = 0;
	unsigned long flags;
	unsigned int i;

	memset(buf, 0, len);
	spin_lock_irqsave(&vusb->lock, flags);
	for (i = 0; i < vusb->num_ports; i++) {
		if (!vusb->ports[i].change)
			continue;
		buf[(i + 1) / 8] |= 1 << (i + 1) % 8;
		changed = len;
	}
	spin_unlock_irqrestore(&vusb->lock, flags);
	return changed;
}

static void vusb_hub_descriptor(struct vusb *vusb, struct usb_hub_descriptor *desc)
{
	int len = vusb->num_ports / 8 + 1;

	memset(desc, 0, sizeof(*desc));
	desc->bDescLength = 7 + 2 * len;
	desc->bDescriptorType = USB_DT_HUB;
	desc->bNbrPorts = vusb->num_ports;
	desc->wHubCharacteristics = cpu_to_le16(HUB_CHAR_INDV_PORT_LPSM | HUB_CHAR_NO_OCPM);
	memset(&desc->u.hs.DeviceRemovable[len], 0xff, len);
}

static u32 vusb_get_port_status(struct vusb *vusb, u8 port)
{
	struct vusb_port *p = &vusb->ports[port - 1];
	unsigned long flags;
	u32 status;

	spin_lock_irqsave(&vusb->lock, flags);
	status = vusb_port_status(p) | p->change << 16;
	spin_unlock_irqrestore(&vusb->lock, flags);
	return status;
}

static void vusb_change_port(struct vusb *vusb, u8 port, u16 set, u16 clear)
{
	struct vusb_port *p = &vusb->ports[port - 1];
	unsigned long flags;

	spin_lock_irqsave(&vusb->lock, flags);
	p->change = (p->change & ~clear) | set;
	if (set)
		vusb->hub_changed = true;
	spin_unlock_irqrestore(&vusb->lock, flags);
}

static int vusb_set_port_feature(struct vusb *vusb, u8 port, u16 feature)
{
	int err;

	switch (feature) {
	case USB_PORT_FEAT_POWER:
		return vusb_port_command(vusb, VIRTIO_USB_CMD_PORT_POWER, port, 1);
	case USB_PORT_FEAT_RESET:
		err = vusb_port_command(vusb, VIRTIO_USB_CMD_PORT_RESET, port, 0);
		/* If there is no device now, the port's status says so. */
		if (!err || err == -EPIPE)
			vusb_change_port(vusb, port, USB_PORT_STAT_C_RESET, 0);
		return err == -EPIPE ? 0 : err;
	}
	/* Also SUSPEND: without it, a device stays awake while the guest sleeps. */
	return -EPIPE;
}

static int vusb_clear_port_feature(struct vusb *vusb, u8 port, u16 feature)
{
	switch (feature) {
	case USB_PORT_FEAT_ENABLE:
		return vusb_port_command(vusb, VIRTIO_USB_CMD_PORT_DISABLE, port, 0);
	case USB_PORT_FEAT_POWER:
		return vusb_port_command(vusb, VIRTIO_USB_CMD_PORT_POWER, port, 0);
	case USB_PORT_FEAT_SUSPEND:
		return 0;
	case USB_PORT_FEAT_C_CONNECTION:
	case USB_PORT_FEAT_C_ENABLE:
	case USB_PORT_FEAT_C_SUSPEND:
	case USB_PORT_FEAT_C_OVER_CURRENT:
	case USB_PORT_FEAT_C_RESET:
		vusb_change_port(vusb, port, 0, BIT(feature - USB_PORT_FEAT_C_CONNECTION));
		return 0;
	}
	return -EPIPE;
}

static int vusb_hub_control(struct usb_hcd *hcd, u16 type, u16 value, u16 index, char *buf,
			    u16 length)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	u8 port = index & 0xff;
	int err = -EPIPE;

	switch (type) {
	case ClearHubFeature:
	case SetHubFeature:
		if (value == C_HUB_LOCAL_POWER || value == C_HUB_OVER_CURRENT)
			err = 0;
		return err;
	case GetHubDescriptor:
		vusb_hub_descriptor(vusb, (struct usb_hub_descriptor *)buf);
		return 0;
	case GetHubStatus:
		*(__le32 *)buf = 0;
		return 0;
	}

	if (port < 1 || port > vusb->num_ports)
		return err;
	switch (type) {
	case GetPortStatus:
		*(__le32 *)buf = cpu_to_le32(vusb_get_port_status(vusb, port));
		return 0;
	case SetPortFeature:
		err = vusb_set_port_feature(vusb, port, value);
		break;
	case ClearPortFeature:
		err = vusb_clear_port_feature(vusb, port, value);
		break;
	}
	vusb_tell_core(vusb);
	return err;
}

static int __maybe_unused vusb_bus_suspend(struct usb_hcd *hcd)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	unsigned long flags;
	unsigned int i;
	int err = 0;

	/* A change after this resumes the root hub. */
	spin_lock_irqsave(&vusb->lock, flags);
	for (i = 0; i < vusb->num_ports; i++)
		if (vusb->ports[i].change)
			err = -EBUSY;
	if (!err)
		hcd->state = HC_STATE_SUSPENDED;
	spin_unlock_irqrestore(&vusb->lock, flags);
	return err;
}

static int __maybe_unused vusb_bus_resume(struct usb_hcd *hcd)
{
	struct vusb *vusb = hcd_to_vusb(hcd);
	unsigned long flags;

	spin_lock_irqsave(&vusb->lock, flags);
	hcd->state = HC_STATE_RUNNING;
	spin_unlock_irqrestore(&vusb->lock, flags);
	return 0;
}

static int vusb_hcd_reset(struct usb_hcd *hcd)
{
	struct vusb *vusb = hcd_to_vusb(hcd);

	hcd->speed = HCD_USB2;
	/* The device takes low and full speed at each port */
	hcd->has_tt = 1;
	hcd->self.sg_tablesize = vusb->segs_max;
	hcd->self.no_sg_constraint = 1;
	return 0;
}

static int vusb_hcd_start(struct usb_hcd *hcd)
{
	hcd->state = HC_STATE_RUNNING;
	hcd->uses_new_polling = 1;
	return 0;
}

static void vusb_hcd_stop(struct usb_hcd *hcd)
{
	hcd->state = HC_STATE_HALT;
}

static const struct hc_driver vusb_hc_driver = {
	.description	= "virtio_usb",
	.product_desc	= "virtio USB host controller",
	.hcd_priv_size	= sizeof(struct vusb *),
	.flags		= HCD_USB2,
	.reset		= vusb_hcd_reset,
	.start		= vusb_hcd_start,
	.stop		= vusb_hcd_stop,
	.urb_enqueue	= vusb_urb_enqueue,
	.urb_dequeue	= vusb_urb_dequeue,
	.endpoint_disable = vusb_endpoint_disable,
	.get_frame_number = vusb_get_frame,
	.hub_status_data = vusb_hub_status_data,
	.hub_control	= vusb_hub_control,
#ifdef CONFIG_PM
	.bus_suspend	= vusb_bus_suspend,
	.bus_resume	= vusb_bus_resume,
#endif
};

/* ---- The virtio device ---- */

/* The device was reset: everything that it had comes back. */
static void vusb_reap(struct vusb *vusb)
{
	LIST_HEAD(done);
	struct vusb_cmd *cmd;
	struct vusb_urb *vurb;
	struct vusb_ep *ep;
	unsigned long flags;
	unsigned int i;

	/* While the guest sleeps, and if the device does not come back, there are no queues */
	if (!vusb->vqs[VIRTIO_USB_VQ_REQUEST])
		return;
	spin_lock_irqsave(&vusb->lock, flags);
	while ((vurb = virtqueue_detach_unused_buf(vusb->vqs[VIRTIO_USB_VQ_REQUEST]))) {
		vusb->in_ring--;
		vurb->ep->in_ring--;
		vurb->ep = NULL;
		list_move_tail(&vurb->node, &done);
	}
	while (!list_empty(&vusb->waiting)) {
		ep = list_first_entry(&vusb->waiting, struct vusb_ep, waits);
		list_splice_tail_init(&ep->backlog, &done);
		list_del_init(&ep->waits);
	}
	list_for_each_entry(vurb, &done, node) {
		vurb->state = VUSB_DONE;
		vurb->err = -ESHUTDOWN;
		vurb->restart = false;
	}
	while ((cmd = virtqueue_detach_unused_buf(vusb->vqs[VIRTIO_USB_VQ_CONTROL])))
		vusb_cmd_end(vusb, cmd, -ESHUTDOWN);
	while (!list_empty(&vusb->cmd_wait)) {
		cmd = list_first_entry(&vusb->cmd_wait, struct vusb_cmd, node);
		vusb_cmd_end(vusb, cmd, -ESHUTDOWN);
	}
	while (virtqueue_detach_unused_buf(vusb->vqs[VIRTIO_USB_VQ_EVENT]))
		;
	for (i = 0; i < vusb->num_ports; i++)
		memset(&vusb->ports[i], 0, sizeof(vusb->ports[i]));
	spin_unlock_irqrestore(&vusb->lock, flags);
	vusb_give_back(vusb, &done);
}

static void vusb_death(struct work_struct *work)
{
	struct vusb *vusb = container_of(work, struct vusb, death);

	unsigned long flags;
	bool registered;

	virtio_reset_device(vusb->vdev);
	vusb_reap(vusb);
	spin_lock_irqsave(&vusb->lock, flags);
	registered = vusb->registered;
	spin_unlock_irqrestore(&vusb->lock, flags);
	if (registered)
		usb_hc_died(vusb->hcd);
}

static void vusb_set_up(struct vusb *vusb, bool up)
{
	unsigned long flags;

	spin_lock_irqsave(&vusb->lock, flags);
	vusb->up = up;
	spin_unlock_irqrestore(&vusb->lock, flags);
}

/*
 * The USB core must not hear of a death before it has the root hub, nor when it is
 * about to give the root hub up. Returns true if the controller is dead already.
 */
static bool vusb_set_registered(struct vusb *vusb, bool registered)
{
	unsigned long flags;
	bool dead;

	spin_lock_irqsave(&vusb->lock, flags);
	vusb->registered = registered;
	dead = vusb->dead;
	spin_unlock_irqrestore(&vusb->lock, flags);
	return dead;
}

static void vusb_delete_queues(struct vusb *vusb)
{
	if (!vusb->vqs[VIRTIO_USB_VQ_REQUEST])
		return;
	vusb->vdev->config->del_vqs(vusb->vdev);
	memset(vusb->vqs, 0, sizeof(vusb->vqs));
}

/* Find the queues, post buffers for events, and start the device. */
static int vusb_begin(struct vusb *vusb)
{
	struct virtqueue_info info[VUSB_NUM_VQS] = {
		[VIRTIO_USB_VQ_CONTROL] = { "control", vusb_callback },
		[VIRTIO_USB_VQ_EVENT] = { "event", vusb_callback },
		[VIRTIO_USB_VQ_REQUEST] = { "request", vusb_callback },
	};
	struct virtio_device *vdev = vusb->vdev;
	struct virtqueue *vq;
	struct scatterlist sg;
	unsigned long flags;
	unsigned int i, n;
	int err;

	err = virtio_find_vqs(vdev, VUSB_NUM_VQS, vusb->vqs, info, NULL);
	if (err) {
		memset(vusb->vqs, 0, sizeof(vusb->vqs));
		return err;
	}
	for (i = 0; i < VUSB_NUM_VQS; i++) {
		n = virtqueue_get_vring_size(vusb->vqs[i]);
		if (n >= 4)
			continue;
		dev_err(&vdev->dev, "queue %u has %u entries, at least 4 are needed\n", i, n);
		vusb_delete_queues(vusb);
		return -EINVAL;
	}

	/* A chain of descriptors is not longer than the ring, indirect or not. */
	n = virtqueue_get_vring_size(vusb->vqs[VIRTIO_USB_VQ_REQUEST]);
	vusb->segs_max = min(vusb->segs_max, n - 2);
	vusb->ep_share = min_t(unsigned int, VUSB_EP_SHARE, n / 2);

	vusb_set_up(vusb, true);
	virtio_device_ready(vdev);
	spin_lock_irqsave(&vusb->lock, flags);
	vq = vusb->vqs[VIRTIO_USB_VQ_EVENT];
	n = min(vusb->num_events, virtqueue_get_vring_size(vq));
	for (i = 0; i < n; i++) {
		sg_init_one(&sg, &vusb->events[i].event, sizeof(vusb->events[i].event));
		if (virtqueue_add_inbuf(vq, &sg, 1, &vusb->events[i], GFP_ATOMIC)) {
			vusb_fail(vusb, "a buffer for events can't be posted");
			break;
		}
		__set_bit(VIRTIO_USB_VQ_EVENT, &vusb->added);
	}
	vusb_unlock_kick(vusb, VIRTIO_USB_VQ_EVENT, flags);
	return 0;
}

/* Stop the device. All URBs come back. */
static void vusb_end(struct vusb *vusb)
{
	struct virtio_device *vdev = vusb->vdev;

	vusb_set_up(vusb, false);
	virtio_reset_device(vdev);
	tasklet_kill(&vusb->tasklet);
	cancel_delayed_work_sync(&vusb->watchdog);
	cancel_work_sync(&vusb->death);
	vusb_reap(vusb);
	synchronize_rcu();
	vusb_delete_queues(vusb);
}

static void vusb_config_changed(struct virtio_device *vdev)
{
	struct vusb *vusb = vdev->priv;
	unsigned long flags;

	if (!(vdev->config->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	spin_lock_irqsave(&vusb->lock, flags);
	vusb_fail(vusb, "the device wants to be reset");
	spin_unlock_irqrestore(&vusb->lock, flags);
}

/* A device that has the same number and another format is left alone. */
static int vusb_validate(struct virtio_device *vdev)
{
	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1) ||
	    !virtio_has_feature(vdev, VIRTIO_USB_F_DRAFT0))
		return -ENODEV;
	return 0;
}

/* Read what the device can do. The number of ports decides all sizes. */
static int vusb_read_config(struct vusb *vusb)
{
	struct virtio_device *vdev = vusb->vdev;
	u32 seg_max, max_transfer;
	u8 num_ports;

	virtio_cread_le(vdev, struct virtio_usb_config, num_ports, &num_ports);
	virtio_cread_le(vdev, struct virtio_usb_config, seg_max, &seg_max);
	virtio_cread_le(vdev, struct virtio_usb_config, max_transfer, &max_transfer);
	if (num_ports < 1 || num_ports > VIRTIO_USB_PORTS_MAX) {
		dev_err(&vdev->dev, "num_ports is %u, expected 1 to %u\n", num_ports,
			VIRTIO_USB_PORTS_MAX);
		return -EINVAL;
	}
	/* A page of data has to fit, wherever it begins, and a control transfer */
	if (seg_max < 2 || max_transfer < U16_MAX) {
		dev_err(&vdev->dev,
			"seg_max is %u, expected at least 2; max_transfer is %u, expected at least %u\n",
			seg_max, max_transfer, U16_MAX);
		return -EINVAL;
	}
	vusb->num_ports = num_ports;
	vusb->max_transfer = max_transfer;
	vusb->segs_max = min_t(u32, seg_max, VUSB_SEGS_MAX);
	vusb->seg_size_max = min_t(size_t, virtio_max_dma_size(vdev), UINT_MAX);
	return 0;
}

static int vusb_probe(struct virtio_device *vdev)
{
	struct vusb *vusb;
	int err;

	if (usb_disabled())
		return -ENODEV;
	vusb = kzalloc_obj(*vusb, GFP_KERNEL);
	if (!vusb)
		return -ENOMEM;
	vusb->vdev = vdev;
	vdev->priv = vusb;
	spin_lock_init(&vusb->lock);
	INIT_LIST_HEAD(&vusb->waiting);
	INIT_LIST_HEAD(&vusb->cmd_wait);
	INIT_LIST_HEAD(&vusb->cmd_sent);
	INIT_LIST_HEAD(&vusb->cancelled);
	INIT_WORK(&vusb->death, vusb_death);
	INIT_DELAYED_WORK(&vusb->watchdog, vusb_watchdog);
	tasklet_setup(&vusb->tasklet, vusb_tasklet);
	err = vusb_read_config(vusb);
	if (err)
		goto free;
	vusb->num_events = 2 * vusb->num_ports;
	vusb->events = kzalloc_objs(*vusb->events, vusb->num_events, GFP_KERNEL);
	if (!vusb->events) {
		err = -ENOMEM;
		goto free;
	}

	/* The virtio device has no DMA mask, its parent has one. */
	vusb->hcd = __usb_create_hcd(&vusb_hc_driver, vdev->dev.parent, &vdev->dev,
				     dev_name(&vdev->dev), NULL);
	if (!vusb->hcd) {
		err = -ENOMEM;
		goto free;
	}
	*(struct vusb **)vusb->hcd->hcd_priv = vusb;

	err = vusb_begin(vusb);
	if (err)
		goto put;
	err = usb_add_hcd(vusb->hcd, 0, 0);
	if (err)
		goto end;
	if (vusb_set_registered(vusb, true))
		usb_hc_died(vusb->hcd);
	return 0;

end:
	vusb_end(vusb);
put:
	usb_put_hcd(vusb->hcd);
free:
	kfree(vusb->events);
	kfree(vusb);
	return err;
}

static void vusb_remove(struct virtio_device *vdev)
{
	struct vusb *vusb = vdev->priv;
	unsigned long flags;

	/* Without a device, nothing would come back. */
	spin_lock_irqsave(&vusb->lock, flags);
	if (vusb->up && virtqueue_is_broken(vusb->vqs[VIRTIO_USB_VQ_REQUEST]))
		vusb_fail(vusb, "the device is gone");
	spin_unlock_irqrestore(&vusb->lock, flags);

	vusb_set_registered(vusb, false);
	flush_work(&vusb->death);
	usb_remove_hcd(vusb->hcd);
	vusb_end(vusb);
	usb_put_hcd(vusb->hcd);
	kfree(vusb->events);
	kfree(vusb);
}

static int __maybe_unused vusb_freeze(struct virtio_device *vdev)
{
	struct vusb *vusb = vdev->priv;

	/* The root hub is suspended, and class drivers have no URBs. */
	vusb_end(vusb);
	clear_bit(HCD_FLAG_HW_ACCESSIBLE, &vusb->hcd->flags);
	return 0;
}

static int __maybe_unused vusb_restore(struct virtio_device *vdev)
{
	struct vusb *vusb = vdev->priv;
	int err;

	if (vusb->dead) {
		/* The USB core may not have heard of it before the guest slept */
		usb_hc_died(vusb->hcd);
		return 0;
	}
	err = vusb_begin(vusb);
	if (err) {
		vusb->dead = true;
		usb_hc_died(vusb->hcd);
		return err;
	}
	set_bit(HCD_FLAG_HW_ACCESSIBLE, &vusb->hcd->flags);
	usb_root_hub_lost_power(vusb->hcd->self.root_hub);
	return 0;
}

static const struct virtio_device_id vusb_ids[] = {
	{ VIRTIO_USB_ID, VIRTIO_DEV_ANY_ID },
	{ }
};
MODULE_DEVICE_TABLE(virtio, vusb_ids);

static unsigned int vusb_features[] = {
	VIRTIO_USB_F_DRAFT0,
};

static struct virtio_driver vusb_driver = {
	.driver.name		= "virtio_usb",
	.feature_table		= vusb_features,
	.feature_table_size	= ARRAY_SIZE(vusb_features),
	.id_table		= vusb_ids,
	.validate		= vusb_validate,
	.probe			= vusb_probe,
	.remove			= vusb_remove,
	.config_changed		= vusb_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze			= vusb_freeze,
	.restore		= vusb_restore,
#endif
};

module_virtio_driver(vusb_driver);

MODULE_DESCRIPTION("USB host controller over virtio");
MODULE_AUTHOR("the virtio-serial-desc authors");
MODULE_LICENSE("GPL");
