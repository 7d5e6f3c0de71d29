# Each module by itself: what AWS is asked for.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "service" {
  command = plan

  module {
    source = "./modules/service"
  }

  variables {
    name               = "amplify-uni-chat-dev"
    aws_region         = "us-east-1"
    image              = "chat@sha256:1111111111111111111111111111111111111111111111111111111111111111"
    port               = 8080
    cpu                = 1024
    memory             = 2048
    cpu_architecture   = "X86_64"
    environment        = { PORT = "8080", HOST = "0.0.0.0" }
    secrets            = { SECRET_KEY = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf" }
    execution_role_arn = "arn:aws:iam::123456789012:role/start"
    task_role_arn      = "arn:aws:iam::123456789012:role/work"
    subnet_ids         = ["subnet-1", "subnet-2"]
    security_group_id  = "sg-1"
    target_group_arn   = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/chat/0123456789abcdef"
    timing             = { stop = 120, health_every = 15, start = 60, scale_out = 60, scale_in = 300 }
    count_of_tasks     = { start = 2, min = 2, max = 10 }
    scaling            = { cpu_percent = 70, memory_percent = 80, streams = 200 }
    spot_percent       = 25
    kms_key_arn        = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    log_days           = 365
    rollback_alarms    = ["errors"]
    collector_image    = "public.ecr.aws/aws-observability/aws-otel-collector:v0.45.0"
  }

  assert {
    condition     = aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback && aws_ecs_service.this.alarms[0].rollback && tolist(aws_ecs_service.this.alarms[0].alarm_names)[0] == "errors"
    error_message = "A deploy that fails, by its tasks or by an alarm, goes back."
  }

  assert {
    condition     = aws_ecs_service.this.deployment_minimum_healthy_percent == 100 && aws_ecs_service.this.deployment_maximum_percent == 200 && !aws_ecs_service.this.network_configuration[0].assign_public_ip
    error_message = "New tasks come before old ones go, and none has a public address."
  }

  assert {
    condition     = { for strategy in aws_ecs_service.this.capacity_provider_strategy : strategy.capacity_provider => strategy.weight } == { FARGATE = 75, FARGATE_SPOT = 25 }
    error_message = "Spot gets its share of what comes above the fewest tasks."
  }

  assert {
    condition     = aws_ecs_task_definition.this.cpu == "1024" && aws_ecs_task_definition.this.memory == "2048" && aws_ecs_task_definition.this.network_mode == "awsvpc" && aws_ecs_task_definition.this.skip_destroy
    error_message = "The task is of the size asked for, and old revisions stay for rollbacks."
  }

  assert {
    condition = alltrue([for container in jsondecode(aws_ecs_task_definition.this.container_definitions) :
      container.readonlyRootFilesystem && container.logConfiguration.logDriver == "awslogs" && container.logConfiguration.options.mode == "non-blocking"
    ])
    error_message = "No container writes to its root, and no log stops a stream."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user == "10001:10001" && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].stopTimeout == 120 && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].portMappings[0].containerPort == 8080
    error_message = "The service is no root, has two minutes to drain and listens where the load balancer asks."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].mountPoints[0].containerPath == "/tmp" && !jsondecode(aws_ecs_task_definition.this.container_definitions)[0].mountPoints[0].readOnly && strcontains(join(" ", jsondecode(aws_ecs_task_definition.this.container_definitions)[0].healthCheck.command), "'127.0.0.1', 8080") && join(" ", jsondecode(aws_ecs_task_definition.this.container_definitions)[0].entryPoint) == "python manage.py"
    error_message = "/tmp can be written to, /health is asked inside the container, and a one-off task changes the command alone."
  }

  assert {
    condition     = { for each in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : each.name => each.value }["HOST"] == "0.0.0.0" && jsondecode(aws_ecs_task_definition.this.container_definitions)[0].secrets[0].name == "SECRET_KEY"
    error_message = "The environment goes by value, secrets by ARN."
  }

  assert {
    condition     = !jsondecode(aws_ecs_task_definition.this.container_definitions)[1].essential && strcontains(jsondecode(aws_ecs_task_definition.this.container_definitions)[1].environment[0].value, "awsxray") && strcontains(jsondecode(aws_ecs_task_definition.this.container_definitions)[1].environment[0].value, "127.0.0.1:4318")
    error_message = "The collector listens to its own task only, sends to X-Ray, and takes no answer with it when it fails."
  }

  assert {
    condition     = aws_appautoscaling_target.this.min_capacity == 2 && aws_appautoscaling_target.this.max_capacity == 10 && aws_appautoscaling_policy.use["cpu"].target_tracking_scaling_policy_configuration[0].target_value == 70 && aws_appautoscaling_policy.use["memory"].target_tracking_scaling_policy_configuration[0].target_value == 80
    error_message = "Autoscaling keeps today's limits and targets."
  }

  assert {
    condition = (
      aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].target_value == 200 &&
      aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].namespace == "AmplifyChat" &&
      aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].metric_name == "ActiveStreams" &&
      aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].statistic == "Average" &&
      one(aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].dimensions).name == "Service" &&
      one(aws_appautoscaling_policy.streams.target_tracking_scaling_policy_configuration[0].customized_metric_specification[0].dimensions).value == "amplify-uni-chat-dev"
    )
    error_message = "Streams are counted by the metric that the service writes, per task."
  }
}

run "door" {
  command = plan

  module {
    source = "./modules/door"
  }

  variables {
    name              = "uni-chat-dev"
    log_bucket        = "amplify-uni-chat-dev-alb-123456789012"
    vpc_id            = "vpc-0a1b2c3d4e5f67890"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    internal          = false
    port              = 8080
    certificate_arn   = "arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555"
    web_acl_arn       = null
    timing            = { idle = 120, deregistration = 900, ready_every = 15, ready_timeout = 5 }
    access_log_days   = 90
    protect           = false
  }

  assert {
    condition     = aws_lb.this.idle_timeout == 120 && aws_lb.this.drop_invalid_header_fields && aws_lb.this.access_logs[0].enabled && !aws_lb.this.enable_deletion_protection
    error_message = "The load balancer is patient, strict with headers and writes its log."
  }

  assert {
    condition     = aws_lb_target_group.this.port == 8080 && aws_lb_target_group.this.target_type == "ip" && aws_lb_target_group.this.deregistration_delay == "900" && aws_lb_target_group.this.load_balancing_algorithm_type == "least_outstanding_requests"
    error_message = "Streams go to the task with the fewest, and have time to end."
  }

  assert {
    condition     = aws_lb_target_group.this.health_check[0].path == "/readyz" && aws_lb_target_group.this.health_check[0].interval == 15 && aws_lb_target_group.this.health_check[0].matcher == "200"
    error_message = "A task gets requests when /readyz says so."
  }

  assert {
    condition     = aws_lb_listener.https.port == 443 && startswith(aws_lb_listener.https.ssl_policy, "ELBSecurityPolicy-TLS13-1-2") && aws_lb_listener.http.default_action[0].type == "redirect" && aws_lb_listener.http.default_action[0].redirect[0].protocol == "HTTPS" && aws_lb_listener.http.default_action[0].redirect[0].status_code == "HTTP_301"
    error_message = "HTTP is redirected to HTTPS, and HTTPS is TLS 1.2 at least."
  }

  assert {
    condition     = aws_s3_bucket_public_access_block.logs.block_public_policy && aws_s3_bucket_lifecycle_configuration.logs.rule[0].expiration[0].days == 90
    error_message = "Access logs are nobody else's and do not stay for ever."
  }
}

run "firewall" {
  command = plan

  module {
    source = "./modules/firewall"
  }

  variables {
    name               = "amplify-uni-chat-dev"
    vpc_id             = "vpc-0a1b2c3d4e5f67890"
    port               = 8080
    allowed_cidrs      = ["192.0.2.0/24"]
    https_egress_cidrs = ["0.0.0.0/0"]
    extra_egress       = { models = { port = 8000, cidr = "10.1.2.3/32" } }
    database           = true
    cache              = true
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.https["192.0.2.0/24"].from_port == 443 && aws_vpc_security_group_ingress_rule.http["192.0.2.0/24"].to_port == 80 && length(aws_vpc_security_group_ingress_rule.https) == 1
    error_message = "Only the networks asked for reach the door, on 443 and 80."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.service_from_door.from_port == 8080 && aws_vpc_security_group_ingress_rule.service_from_door.cidr_ipv4 == null && aws_vpc_security_group_egress_rule.door_to_service.to_port == 8080 && aws_vpc_security_group_egress_rule.door_to_service.cidr_ipv4 == null
    error_message = "Door and service know each other by group, on one port."
  }

  assert {
    condition     = aws_vpc_security_group_egress_rule.https["0.0.0.0/0"].from_port == 443 && aws_vpc_security_group_egress_rule.https["0.0.0.0/0"].to_port == 443 && aws_vpc_security_group_egress_rule.extra["models"].from_port == 8000
    error_message = "Out goes HTTPS, and what is named."
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.store["database"].from_port == 5432 && aws_vpc_security_group_ingress_rule.store["cache"].from_port == 6379 && alltrue([for rule in aws_vpc_security_group_ingress_rule.store : rule.cidr_ipv4 == null])
    error_message = "Database and cache let in nothing but the tasks."
  }
}

run "registry" {
  command = plan

  module {
    source = "./modules/registry"
  }

  variables {
    name        = "amplify-uni-chat-dev"
    kms_key_arn = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "Images are scanned and never overwritten."
  }

  assert {
    condition     = [for rule in jsondecode(aws_ecr_lifecycle_policy.this.policy).rules : "${rule.selection.tagStatus} ${rule.selection.countNumber}"] == ["untagged 7", "tagged 10"]
    error_message = "Untagged images go after 7 days; the last 10 versions stay."
  }
}

run "roles" {
  command = plan

  module {
    source = "./modules/roles"
  }

  variables {
    name              = "amplify-uni-chat-dev"
    repository_arn    = "arn:aws:ecr:us-east-1:123456789012:repository/amplify-uni-chat-dev"
    log_group_arn     = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/amplify-uni-chat-dev"
    start_secret_arns = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"]
    kms_key_arns      = ["arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
    policy_arns       = []
    tracing           = true
    rights = {
      tables    = { "arn:aws:dynamodb:us-east-1:123456789012:table/keys" = ["dynamodb:GetItem", "dynamodb:Query"] }
      buckets   = { "arn:aws:s3:::text" = ["s3:GetObject"] }
      queues    = {}
      secrets   = []
      models    = []
      guardrail = null
    }
  }

  assert {
    condition     = aws_iam_role.execution.name == "amplify-uni-chat-dev-execution" && aws_iam_role.task.name == "amplify-uni-chat-dev-task"
    error_message = "Roles are named after the deployment."
  }

  assert {
    condition     = toset(data.aws_iam_policy_document.execution.statement[3].resources) == toset(["arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"]) && toset(data.aws_iam_policy_document.execution.statement[1].resources) == toset(["arn:aws:ecr:us-east-1:123456789012:repository/amplify-uni-chat-dev"])
    error_message = "To start, a task may read its own secrets and its own image."
  }

  assert {
    condition     = toset(data.aws_iam_policy_document.task.statement[0].resources) == toset(["arn:aws:dynamodb:us-east-1:123456789012:table/keys", "arn:aws:dynamodb:us-east-1:123456789012:table/keys/index/*"]) && toset(data.aws_iam_policy_document.task.statement[1].resources) == toset(["arn:aws:s3:::text/*"])
    error_message = "A table that may be queried may be queried by its indexes; a bucket's objects may be read, the bucket not listed."
  }

  assert {
    condition     = length(data.aws_iam_policy_document.task.statement) == 3 && length(aws_iam_role_policy.task) == 1
    error_message = "What there is no right to has no statement; the third is the key."
  }
}

run "roles_with_the_platforms_policies" {
  command = plan

  module {
    source = "./modules/roles"
  }

  variables {
    name              = "amplify-uni-chat-dev"
    repository_arn    = "arn:aws:ecr:us-east-1:123456789012:repository/amplify-uni-chat-dev"
    log_group_arn     = "arn:aws:logs:us-east-1:123456789012:log-group:/ecs/amplify-uni-chat-dev"
    start_secret_arns = ["arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"]
    kms_key_arns      = ["arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"]
    policy_arns       = ["arn:aws:iam::123456789012:policy/amplify-uni-amplify-js-dev-iam-policy", "arn:aws:iam::123456789012:policy/amplify-uni-amplify-js-dev-bedrock-policy"]
    tracing           = false
    rights            = { tables = {}, buckets = {}, queues = {}, secrets = [], models = [], guardrail = null }
  }

  assert {
    condition     = length(aws_iam_role_policy_attachment.given) == 2 && length(aws_iam_role_policy.task) == 0 && length(aws_iam_role_policy.traces) == 0
    error_message = "Given policies take the place of those written here."
  }
}

run "database" {
  command = plan

  module {
    source = "./modules/database"
  }

  variables {
    name              = "amplify-uni-chat-prod"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    instance_class    = "db.t4g.medium"
    storage_gb        = 50
    backup_days       = 14
    two_zones         = true
    kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    log_days          = 365
    password          = "never-in-the-state"
    secrets_version   = 1
    protect           = true
  }

  assert {
    condition     = aws_db_instance.this.engine == "postgres" && aws_db_instance.this.storage_encrypted && aws_db_instance.this.multi_az && aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && !aws_db_instance.this.publicly_accessible
    error_message = "prod's database is encrypted, has a standby, and is not lost by mistake."
  }

  assert {
    condition     = aws_db_instance.this.password == null && aws_db_instance.this.password_wo_version == 1
    error_message = "The password is written, never kept."
  }
}

run "cache" {
  command = plan

  module {
    source = "./modules/cache"
  }

  variables {
    name              = "uni-chat-prod"
    subnet_ids        = ["subnet-1", "subnet-2"]
    security_group_id = "sg-1"
    node_type         = "cache.t4g.small"
    two_zones         = true
    kms_key_arn       = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }

  assert {
    condition     = aws_elasticache_replication_group.this.engine == "valkey" && aws_elasticache_replication_group.this.transit_encryption_mode == "required" && aws_elasticache_replication_group.this.num_cache_clusters == 2 && aws_elasticache_replication_group.this.automatic_failover_enabled
    error_message = "prod's Valkey speaks TLS only and has a second node."
  }

  assert {
    condition     = join(",", output.nodes) == "uni-chat-prod-001,uni-chat-prod-002"
    error_message = "Alarms find the nodes by the names that ElastiCache gives them."
  }
}

run "watch" {
  command = plan

  module {
    source = "./modules/watch"
  }

  variables {
    name          = "amplify-uni-chat-prod"
    aws_region    = "us-east-1"
    kms_key_arn   = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    emails        = ["ops@example.edu"]
    cluster       = "amplify-uni-chat-prod"
    service       = "amplify-uni-chat-prod"
    min_count     = 2
    max_count     = 10
    streams       = 200
    log_group     = "/ecs/amplify-uni-chat-prod"
    load_balancer = "app/uni-chat-prod/0123456789abcdef"
    target_group  = "targetgroup/uni-chat-prod/0123456789abcdef"
    database      = "amplify-uni-chat-prod"
    cache_nodes   = ["uni-chat-prod-001"]
  }

  assert {
    condition     = join(",", output.rollback_alarms) == "amplify-uni-chat-prod-errors,amplify-uni-chat-prod-unhealthy,amplify-uni-chat-prod-unreachable"
    error_message = "What people feel undoes a deploy; what only the operator sees does not."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.too_few_tasks.threshold == 2 && aws_cloudwatch_metric_alarm.too_few_tasks.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.this["full"].threshold == 9 && aws_cloudwatch_metric_alarm.this["cache-memory-uni-chat-prod-001"].dimensions["CacheClusterId"] == "uni-chat-prod-001"
    error_message = "Alarms stand at the limits of this deployment."
  }

  assert {
    condition     = length(jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets) == 9 && alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.this.dashboard_body).widgets : widget.x + widget.width <= 24])
    error_message = "The dashboard has its nine charts, three to a row."
  }
}
