//! A camera's pipeline: one thread that opens the camera at the first viewer, encodes each frame once, publishes
//! it to the hub, and closes the camera after the last viewer. Capture and encode share the thread: the driver's
//! own buffers are the slot in which the newest frame waits, so a frame is converted straight from the mapped
//! buffer, with nothing handed over between. Not here: what cameras and encoders do.
