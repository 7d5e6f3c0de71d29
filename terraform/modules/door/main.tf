# The load balancer: TLS outside, plain HTTP to the tasks inside, and patience for long streams.

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_150:prod has it (deletion_protection); a dev deployment shall be easy to remove.
  #checkov:skip=CKV2_AWS_28:A web ACL is given where there is one (web_acl_arn); its rules are the university's to choose.
  name               = var.name
  internal           = var.internal
  load_balancer_type = "application"
  subnets            = var.subnet_ids
  security_groups    = [var.security_group_id]

  idle_timeout                     = var.timing.idle
  enable_http2                     = true
  enable_cross_zone_load_balancing = true
  drop_invalid_header_fields       = true
  desync_mitigation_mode           = "defensive"
  enable_deletion_protection       = var.protect

  access_logs {
    bucket  = aws_s3_bucket.logs.id
    enabled = true
  }

  # Delivery is tried when logging is switched on, and refused without the policy.
  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; behind it only that one may reach the tasks (security groups).
  name        = var.name
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "HTTP"
  port        = var.port

  # A stream is one request that lasts minutes: round robin would pile them up on the task that got the long ones.
  load_balancing_algorithm_type = "least_outstanding_requests"
  deregistration_delay          = var.timing.deregistration

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = var.timing.ready_every
    timeout             = var.timing.ready_timeout
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06" # TLS 1.2 with forward secrecy, and 1.3
  certificate_arn   = var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"

  default_action {
    type = "redirect"

    redirect {
      protocol    = "HTTPS"
      port        = "443"
      status_code = "HTTP_301"
    }
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.web_acl_arn == null ? 0 : 1

  resource_arn = aws_lb.this.arn
  web_acl_arn  = var.web_acl_arn
}
