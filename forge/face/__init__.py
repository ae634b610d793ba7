"""The VASA-1 face: a disentangled latent space (V_app, z_id, z_pose, z_dyn) and its renderer."""
