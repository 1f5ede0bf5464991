# SPDX-License-Identifier: MIT OR Apache-2.0
# Only for distributions that ask for it: adding a layer must not change other recipes.
require ${@bb.utils.contains('DISTRO_FEATURES', 'gatewayd', 'linux-gatewayd.inc', '', d)}
